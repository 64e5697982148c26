"""The door: sshd, PAM, and who keeps it clear. The locks are the factors' own."""
