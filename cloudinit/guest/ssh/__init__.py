"""The door: sshd, the two locks of PAM, and who keeps it clear."""
