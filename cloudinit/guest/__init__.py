"""The programs that run on a machine, as root. Python's standard library only."""
