"""A stock Debian becomes a machine, once; a baked image has it behind it."""
