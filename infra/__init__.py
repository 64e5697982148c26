"""What plans and makes the resources of a stack."""
