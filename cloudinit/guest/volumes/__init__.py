"""The disks that outlive the machine: homes, and what it has to remember."""
