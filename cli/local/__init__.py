"""What the command line asks of the target `local`."""
