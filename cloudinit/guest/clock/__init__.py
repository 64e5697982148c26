"""The time, which codes depend on: chrony, and our own measurement of how far it is off."""
