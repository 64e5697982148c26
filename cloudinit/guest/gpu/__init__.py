"""The machine's GPUs, as Docker hands them on by their CDI names."""
