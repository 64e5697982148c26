"""From a time on nobody is on the machine, until the roster says otherwise: an exam, a move."""
