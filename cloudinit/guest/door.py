"""Opening the machine to its researchers: firewall, host key, services, in that order."""

import ipaddress
from pathlib import Path

from guest import paths
from guest.roster import Roster
from guest.system import GuestError, folder, run, write

# QEMU's user network: whatever reaches the forwarded port of the host's loopback comes from here.
LOCAL_GATEWAY = "10.0.2.2/32"


def _elements(name: str, networks: list[str]) -> str:
    if not networks:
        return ""
    return f"add element inet secondlock {name} {{ {', '.join(networks)} }}\n"


def set_firewall(allowed_from: tuple[str, ...], target: str) -> bool:
    """Let in these networks and no others; True when that is a change."""
    networks = [ipaddress.ip_network(each) for each in allowed_from]
    four = [str(each) for each in networks if each.version == 4]
    six = [str(each) for each in networks if each.version == 6]
    if target == "local":
        four.append(LOCAL_GATEWAY)
    changed = write(paths.ALLOWED, _elements("allowed4", four) + _elements("allowed6", six), 0o644)
    run("nft", "-f", "/etc/nftables.conf")
    return changed


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


def _at_boot(target: str, *units: str) -> None:
    """Have a target want these units from the next boot on.

    By the links that `systemctl add-wants` makes: under emulation that takes a third of a second
    each time, and `systemctl enable` seconds for a unit with an old init script beside it.
    """
    wants = paths.UNITS / f"{target}.wants"
    folder(wants, 0o755)
    for unit in units:
        if not (wants / unit).is_symlink():
            (wants / unit).symlink_to(_definition(unit))


def _definition(unit: str) -> Path:
    """The file of a unit, or of the template that it is an instance of (systemd.unit(5))."""
    name, _, instance = unit.partition("@")
    file = f"{name}@.{instance.rpartition('.')[2]}" if instance else unit
    for place in (paths.UNITS, paths.VENDOR_UNITS):
        if (place / file).exists():
            return place / file
    raise GuestError(f"this machine has no unit {file}")


def _services() -> list[str]:
    """What runs beside sshd."""
    return ["fail2ban.service", "secondlock-clock.service", "secondlock-doorkeeper.service"]


def start_at_boot() -> None:
    """Have every boot start what lets people in, and what runs beside it."""
    always = ["nftables.service", "secondlock-boot.service", "ssh.service"]
    _at_boot("multi-user.target", *always, *_services())
    _at_boot("timers.target", "secondlock-status.timer")


def start_services() -> list[str]:
    """Have what runs beside sshd run; what does not start, as faults."""
    faults = []
    for unit in _services():
        try:
            run("systemctl", "start", unit)
        except GuestError as fault:
            faults.append(str(fault))
    return faults


def prepare() -> bool:
    """Once in a machine's life: have every boot start its services; True when that was now."""
    if paths.PREPARED.exists():
        return False
    start_at_boot()
    write(paths.PREPARED, "", 0o644)
    return True


def settle() -> None:
    """In the first boot: start the services, which read what cloud-init has written."""
    again = ("systemd-resolved.service", "chrony.service", "systemd-sysctl.service")
    run("systemctl", "restart", "--no-block", *again)
    run("systemctl", "start", "--no-block", *_services(), "secondlock-status.timer")
    # Logins cannot: /usr is read-only for what sshd starts.
    run("/usr/bin/python3", "-I", "-m", "compileall", "-q", str(paths.PROGRAMS))
    # Nothing of this boot needs it, and a login that meets it waits for seconds. Nor is journald
    # restarted, for which all that log would wait: its usual limits do until the next boot.
    run("systemd-run", "--quiet", "--collect", "--on-active=3min", "systemctl", "daemon-reload")


def open_door(roster: Roster) -> bool:
    """Put the host key in place and let sshd answer; True when sshd was (re)started.

    sshd's own check comes first (sshd(8), -t): a configuration that fails it opens nothing.
    """
    changed = write(paths.HOST_KEY, roster.host_key, 0o600)
    run("mkdir", "-p", "/run/sshd")
    run("/usr/sbin/sshd", "-t")
    run("systemctl", "restart" if changed else "start", "ssh.service")
    if run("systemctl", "is-active", "ssh.service", check=False).strip() != "active":
        raise GuestError("sshd does not run; see `journalctl -u ssh` on the machine")
    return changed


def _jupyter_port(name: str) -> str:
    return f"secondlock-jupyter-proxy@{name}.socket"


def offer_jupyter(name: str, at_once: bool = True) -> None:
    """Port 8888 is the researcher's of a dedicated machine: from every boot on, and at once."""
    _at_boot("sockets.target", _jupyter_port(name))
    if at_once:
        run("systemctl", "start", _jupyter_port(name))


def stop_jupyter(name: str) -> None:
    """End the Jupyter that runs; the port stays the researcher's."""
    units = [f"secondlock-jupyter{part}@{name}.service" for part in ("-proxy", "")]
    run("systemctl", "kill", "--signal=KILL", *units, check=False)
    run("systemctl", "reset-failed", *units, check=False)


def withdraw_jupyter(name: str) -> None:
    """Take the port back from a researcher who is gone."""
    unit = _jupyter_port(name)
    (paths.UNITS / "sockets.target.wants" / unit).unlink(missing_ok=True)
    run("systemctl", "stop", unit, check=False)
