"""Building of the golden image: `python -m image`, which `make image` calls."""
