"""How a machine in EC2 asks AWS, and finds its disk."""
