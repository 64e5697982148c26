"""Jupyter at port 8888 of a dedicated machine's loopback."""
