"""Building of the golden image: `python -m tools.image`, which `make image` calls."""
