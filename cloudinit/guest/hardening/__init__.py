"""The kernel and the services that no other facet has."""
