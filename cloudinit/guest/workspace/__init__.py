"""The way into a researcher's container, and Docker, which keeps it."""
