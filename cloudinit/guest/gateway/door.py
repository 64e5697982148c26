"""The HTTPS door of a machine, opened as its roster says, or shut."""

import json
import pwd
from pathlib import Path

from guest import paths
from guest.firewall import rules
from guest.gateway import gates, networks, passphrases, places, tickets
from guest.gateway.asked import Access, Door
from guest.system import GuestError, folder, run, write

PORT = {"local": 8443, "aws": 443}
"""What nginx listens on; on the local target another of the host's leads there."""
UNITS = ("secondlock-gateway.socket", "secondlock-gateway.service", "secondlock-hub.service",
         "secondlock-web.service")  # fmt: skip

_SYSUSERS = f"""\
g {places.GATES_GROUP} -
u {places.HUB_USER} - "Secondlock JupyterHub" /nonexistent /usr/sbin/nologin
u {places.WEB_USER} - "Secondlock nginx" /nonexistent /usr/sbin/nologin
"""


def apply(door: Door | None, target: str, public_port: int | None) -> list[str]:
    """Open it to those who have it, at the port that people name; what changed, in words.

    Raises GuestError where the machine's image has no JupyterHub.
    """
    if door is None:
        return _close()
    if not (places.HUB / "jupyterhub").is_dir():
        raise GuestError(
            "this machine's image is of before there was access by web: raise `rebuild:` in its"
            " request"
        )
    _make_users()
    changed = _write(door, target, public_port or PORT[target])
    # Nobody's connections end for what is as it was.
    again = [unit for unit, files in _read_by().items() if changed & files]
    if again:
        run("systemctl", "restart", *again)
    run("systemctl", "start", *UNITS)
    return ["web"] if changed else []


def _read_by() -> dict[str, set[Path]]:
    """Which service reads what of it when it starts."""
    nginx = {places.CERTIFICATE, places.KEY, places.LISTEN, places.NAMES, places.PEOPLE}
    return {"secondlock-hub.service": {places.HUB_CONFIG}, "secondlock-web.service": nginx}


def _make_users() -> None:
    try:
        for name in (places.HUB_USER, places.WEB_USER):
            pwd.getpwnam(name)
    except KeyError:
        run("systemd-sysusers", "-", stdin=_SYSUSERS)


def _write(door: Door, target: str, port: int) -> set[Path]:
    """What nginx and the hub are told; which files changed."""
    for place, mode in ((places.STATE, 0o700), (places.CONFIG, 0o755)):
        folder(place, mode)
    here = "" if port == PORT["aws"] else f":{port}"
    listen = "".join(f"listen {each}{PORT[target]} ssl;\n" for each in ("", "[::]:"))
    hub = f"set $hub https://{door.host}{here};\n"
    escaped = door.host.replace(".", "\\.")
    parts = {
        places.CERTIFICATE: (door.certificate, 0o600),
        places.KEY: (door.key, 0o600),
        places.LISTEN: (listen.replace(" ssl", " ssl default_server"), 0o644),
        places.NAMES: (f"{listen}server_name {door.host};\n{hub}", 0o644),
        places.PEOPLE: (
            f'{listen}server_name "~^(?<who>[a-z0-9][a-z0-9-]*)\\.{escaped}$";\n{hub}', 0o644
        ),
        places.HUB_CONFIG: (json.dumps({"host": door.host, "port": port}) + "\n", 0o644),
    }  # fmt: skip
    return {path for path, (content, mode) in parts.items() if write(path, content, mode)}


def _close() -> list[str]:
    """Nobody comes in by it, and nothing listens."""
    if not places.HUB_CONFIG.exists():
        return []
    run("systemctl", "stop", *reversed(UNITS))
    for name in gates.opened():
        leave(name)
    for each in (places.CERTIFICATE, places.KEY):
        each.unlink(missing_ok=True)
    places.HUB_CONFIG.unlink()  # last: cut off before that, it is shut again
    return ["web"]


def bind(name: str, enrollment: str, access: Access) -> list[str]:
    """Let the person in by this and nothing else, or not at all; what changed, in words.

    Who was in by another passphrase, or from other networks, is out. Raises GuestError.
    """
    changed = []
    if access.passphrase is None:
        passphrase = passphrases.forget(name)
    else:
        passphrase = passphrases.bind(name, enrollment, access.passphrase)
    if passphrase:
        changed.append("passphrase")
    if networks.bind(name, _from(access)) if access.web else networks.forget(name):
        changed.append("networks")
    if changed:
        leave(name)
    return changed


def _from(access: Access) -> tuple[str, ...]:
    """From where their connections come: to the target local all do by QEMU's gateway."""
    local = json.loads(paths.MACHINE.read_text())["target"] == "local"
    return (*access.networks, rules.LOCAL_GATEWAY) if local else access.networks


def forget(name: str) -> None:
    """The person is out, and has no passphrase any more."""
    passphrases.forget(name)
    networks.forget(name)
    leave(name)


def leave(name: str) -> None:
    """End what the person has open by HTTPS, and what would let them open it again."""
    tickets.end(name)
    if name in gates.opened():
        gates.shut(name)
