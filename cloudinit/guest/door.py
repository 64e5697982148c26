"""Opening the machine to its researchers: firewall, host key, services, in that order."""

import ipaddress
import json

from guest import paths
from guest.roster import Roster
from guest.system import GuestError, run, write

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


def prepare() -> None:
    """Once in a machine's life: switch on what cloud-init has written."""
    if paths.PREPARED.exists():
        return
    target = json.loads(paths.MACHINE.read_text())["target"]
    units = ["nftables.service", "secondlock-boot.service", "ssh.service", "fail2ban.service"]
    units.append("secondlock-status.timer")
    if target == "local":
        units.append("secondlock-hostclock.service")
    # Each reload costs seconds on an emulated machine: one is enough.
    run("systemctl", "enable", "--quiet", "--no-reload", *units)
    run("systemctl", "daemon-reload")
    restarted = ["systemd-journald.service", "systemd-resolved.service", "chrony.service"]
    run("systemctl", "restart", "--no-block", *restarted)
    run("systemctl", "start", "--no-block", "fail2ban.service", "secondlock-status.timer")
    if target == "local":
        run("systemctl", "start", "--no-block", "secondlock-hostclock.service")
    write(paths.PREPARED, "", 0o644)


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


def offer_jupyter(roster: Roster) -> None:
    """Port 8888 belongs to the researcher of a dedicated machine; a shared one offers none."""
    if len(roster.researchers) != 1:
        return
    (name,) = roster.researchers
    unit = f"secondlock-jupyter-proxy@{name}.socket"
    run("systemctl", "enable", "--quiet", "--no-reload", unit)
    run("systemctl", "start", unit)
