"""What machines' images are made of; `make image` builds the golden one."""
