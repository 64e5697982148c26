"""The HTTPS door of a machine, opened as its roster says, or shut."""

import json
import math
import pwd
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from guest import paths
from guest.firewall import rules
from guest.gateway import gates, networks, passphrases, places, tickets
from guest.gateway.asked import Access, Door
from guest.oidc import identities
from guest.oidc import places as oidc
from guest.system import GuestError, folder, run, write

PORT = {"local": 8443, "aws": 443}
"""What nginx listens on; on the local target another of the host's leads there."""
UNITS = ("secondlock-gateway.socket", "secondlock-gateway.service", "secondlock-hub.service",
         "secondlock-web.service")  # fmt: skip
OF_PROVIDER = ("secondlock-oidc.socket", "secondlock-oidc.service")

_SYSUSERS = f"""\
g {places.GATES_GROUP} -
u {places.HUB_USER} - "Secondlock JupyterHub" /nonexistent /usr/sbin/nologin
u {places.WEB_USER} - "Secondlock nginx" /nonexistent /usr/sbin/nologin
u {oidc.USER} - "Secondlock OpenID Connect" /nonexistent /usr/sbin/nologin
"""


def apply(door: Door | None, target: str, public_port: int | None) -> list[str]:
    """Open it to those who have it, at the port that people name; what changed, in words.

    Raises GuestError where the machine's image has no JupyterHub.
    """
    if door is None:
        return _close()
    needs = ("jupyterhub", "joserfc") if door.provider is not None else ("jupyterhub",)
    if not all((places.HUB / each).is_dir() for each in needs):
        raise GuestError(
            "this machine's image is of before there was such access by web: raise `rebuild:` in"
            " its request"
        )
    _make_users()
    port = public_port or PORT[target]
    changed = _write(door, target, port) | _write_provider(door, port)
    # Nobody's connections end for what is as it was.
    again = [unit for unit, files in _read_by().items() if changed & files]
    if again:
        run("systemctl", "restart", *again)
    if "secondlock-web.service" not in again and _shows_another():
        # Those who are in stay (nginx(8), HUP).
        run("systemctl", "reload-or-restart", "secondlock-web.service")
    run("systemctl", "start", *UNITS, *(OF_PROVIDER if door.provider is not None else ()))
    return ["web"] if changed else []


def _shows_another() -> bool:
    """Whether nginx has other copies of certificate and key; also where an apply was cut off."""
    with suppress(OSError):
        both = [(each.read_text(), (places.TLS / each.name).read_text())
                for each in (places.CERTIFICATE, places.KEY)]  # fmt: skip
        return any(wanted != shown for wanted, shown in both)
    return False  # it has none yet, and takes them when it starts


def _read_by() -> dict[str, set[Path]]:
    """Which service reads what of it when it starts."""
    return {
        "secondlock-hub.service": {places.HUB_CONFIG},
        "secondlock-oidc.service": {oidc.PROVIDER, oidc.SECRET},
        "secondlock-web.service": {places.LISTEN, places.NAMES, places.PEOPLE},
    }


def asker(door: Door | None) -> tuple[int, int] | None:
    """Who speaks to the provider, and by which port; None where nobody does. Raises GuestError."""
    if door is None or door.provider is None:
        return None
    _make_users()
    return pwd.getpwnam(oidc.USER).pw_uid, urlsplit(door.provider.issuer).port or 443


def _make_users() -> None:
    try:
        for name in (places.HUB_USER, places.WEB_USER, oidc.USER):
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
        places.HUB_CONFIG: (json.dumps(_hub(door, port)) + "\n", 0o644),
    }  # fmt: skip
    write(places.ENDS, "" if door.ends is None else str(door.ends), 0o644)
    return {path for path, (content, mode) in parts.items() if write(path, content, mode)}


def _hub(door: Door, port: int) -> dict[str, Any]:
    said: dict[str, Any] = {"host": door.host, "port": port}
    if door.provider is not None:
        said |= {"provider": urlsplit(door.provider.issuer).hostname, "form": door.form}
    return said


def _write_provider(door: Door, port: int) -> set[Path]:
    """What is told to who speaks to the provider; which files changed."""
    provider = door.provider
    if provider is None:
        return _forget_provider()
    here = "" if port == PORT["aws"] else f":{port}"
    said = {
        "issuer": provider.issuer,
        "client": provider.client,
        "claim": provider.claim,
        "acr": provider.acr,
        "authority": provider.authority,
        "redirect": f"https://{door.host}{here}/hub/oidc/callback",
    }
    parts = {oidc.SECRET: (provider.secret, 0o600), oidc.PROVIDER: (json.dumps(said), 0o644)}
    return {path for path, (content, mode) in parts.items() if write(path, content, mode)}


def _forget_provider() -> set[Path]:
    if oidc.PROVIDER.exists():
        run("systemctl", "stop", *OF_PROVIDER)
        oidc.SECRET.unlink(missing_ok=True)
        oidc.PROVIDER.unlink()  # last: cut off before that, it is forgotten again
    return set()


def days_left() -> int | None:
    """Until the certificate ends, below zero afterwards; None where that is not known."""
    try:
        return math.floor((int(places.ENDS.read_text()) - time.time()) / 86400)
    except (OSError, ValueError):
        return None


def _close() -> list[str]:
    """Nobody comes in by it, and nothing listens."""
    if not places.HUB_CONFIG.exists():
        return []
    run("systemctl", "stop", *reversed(UNITS))
    _forget_provider()
    for name in gates.opened():
        leave(name)
    for each in (places.CERTIFICATE, places.KEY, places.ENDS, *places.TLS.glob("*.pem")):
        each.unlink(missing_ok=True)
    places.HUB_CONFIG.unlink()  # last: cut off before that, it is shut again
    return ["web"]


def bind(name: str, enrollment: str, access: Access) -> list[str]:
    """Let the person in by this and nothing else, or not at all; what changed, in words.

    Who was in by another passphrase, as somebody else at the provider or from other networks, is
    out. Raises GuestError.
    """
    changed = []
    if access.passphrase is None:
        passphrase = passphrases.forget(name)
    else:
        passphrase = passphrases.bind(name, enrollment, access.passphrase)
    if passphrase:
        changed.append("passphrase")
    if access.identity is None:
        identity = identities.forget(name)
    else:
        identity = identities.bind(name, enrollment, access.identity)
    if identity:
        changed.append("provider")
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
    """The person is out, and comes in neither by passphrase nor by a provider any more."""
    passphrases.forget(name)
    identities.forget(name)
    networks.forget(name)
    leave(name)
    gates.forget(name)


def leave(name: str) -> None:
    """End what the person has open by HTTPS, and what would let them open it again."""
    tickets.end(name)
    if name in gates.opened():
        gates.shut(name)
