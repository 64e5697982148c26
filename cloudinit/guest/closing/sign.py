"""What a closed machine tells those who come: the file that sshd's PAM stacks ask for."""

from pathlib import Path

NOLOGIN = Path("/etc/nologin")


def words() -> str | None:
    """What is told to who comes to a machine that is closed; None where it is open."""
    try:
        return NOLOGIN.read_text().strip() or "This machine is closed."
    except OSError:
        return None
