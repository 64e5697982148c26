"""Who did what: logins, commands, changes and alerts, each record bound to the one before it."""
