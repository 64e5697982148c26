"""Set-up, image building and demonstration: what makes the product run from a clone."""
