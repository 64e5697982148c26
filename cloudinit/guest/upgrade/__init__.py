"""Another bundle, while people work."""
