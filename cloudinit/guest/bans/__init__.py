"""fail2ban: who has no key is turned away for a while."""
