"""The target `local`. Empty: its providers' process, which imports this, is to start quickly."""
