"""The machine in one JSON line a minute."""
