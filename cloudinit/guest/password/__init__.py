"""A password in place of a key; asked for before the code."""
