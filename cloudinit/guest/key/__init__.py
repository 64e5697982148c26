"""The first lock of most: a key, whose public half is in the roster."""
