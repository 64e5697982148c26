"""Opening the door: the host key in place, then sshd."""

from guest import paths
from guest.system import GuestError, run, write


def check_host_key(host_key: str) -> None:
    """Refuse what ssh-keygen(1) cannot read, before anything changes: sshd would not start."""
    trial = paths.RUN / "host_key"
    write(trial, host_key, 0o600)
    try:
        run("ssh-keygen", "-y", "-P", "", "-f", str(trial))
    except GuestError:
        raise GuestError("the roster is refused: its host key cannot be read") from None
    finally:
        trial.unlink()


def open_door(host_key: str) -> bool:
    """Put the host key in place and let sshd answer; True when sshd was (re)started.

    sshd's own check comes first (sshd(8), -t): a configuration that fails it opens nothing.
    """
    changed = write(paths.HOST_KEY, host_key, 0o600)
    run("mkdir", "-p", "/run/sshd")
    run("/usr/sbin/sshd", "-t")
    run("systemctl", "restart" if changed else "start", "ssh.service")
    if run("systemctl", "is-active", "ssh.service", check=False).strip() != "active":
        raise GuestError("sshd does not run; see `journalctl -u ssh` on the machine")
    return changed
