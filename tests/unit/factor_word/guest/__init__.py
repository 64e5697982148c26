"""A word that the person types."""
