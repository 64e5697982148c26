"""Which networks reach the machine."""
