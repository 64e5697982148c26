"""The networks of a shared machine's workspaces: one each, and nobody else's in reach."""
