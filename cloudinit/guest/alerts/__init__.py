"""What is wrong with the machine, told to someone who does not look."""
