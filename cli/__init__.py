"""`secondlock`: what `pulumi` itself does not do for the people around a stack."""
