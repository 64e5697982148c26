"""One code a day: a certificate that stands in for it, for a while and for this machine alone."""
