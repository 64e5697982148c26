"""What machines' images are made of; `python -m image` (make image) builds the golden one."""
