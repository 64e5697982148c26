"""What a roster says of the HTTPS door: of the machine once, of each person who may use it."""

import re
from dataclasses import dataclass, field
from typing import Any

from guest import reading
from guest.reading import need, text

WAYS = ("ssh", "web")
PASSPHRASE = re.compile(r"[!-~]{12,128}")
LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123, 2.1
HOST = re.compile(rf"{LABEL}(?:\.{LABEL}){{1,9}}")
PERSON = re.compile(LABEL)
PEM = "-----BEGIN {0}-----\\n[A-Za-z0-9+/=\\n]+\\n-----END {0}-----\\n"
CERTIFICATES = re.compile(f"(?:{PEM.format('CERTIFICATE')}){{1,5}}")
KEY = re.compile(PEM.format("PRIVATE KEY"))


@dataclass(frozen=True)
class Door:
    """That of a machine on which anybody has it."""

    host: str
    """Of the hub; each person's is theirs with this behind it."""
    certificate: str
    """PEM, with those that it rests on."""
    key: str = field(repr=False)
    networks: tuple[str, ...] = ()


def read_door(value: Any) -> Door | None:
    """The door of a roster; None where nobody has it. Raises GuestError, quotes no value."""
    if value is None:
        return None
    need(isinstance(value, dict), "what it says of the web is not a mapping")
    networks = reading.networks(value.get("allowed_from"), "web_allowed_from")
    need(bool(networks), "its web would be reached from nowhere")
    return Door(
        host=text(value.get("host"), HOST, "the web's host"),
        certificate=text(value.get("certificate"), CERTIFICATES, "the web's certificate"),
        key=text(value.get("key"), KEY, "the web's key"),
        networks=networks,
    )


@dataclass(frozen=True)
class Access:
    """How one person comes in."""

    ssh: bool = True
    passphrase: str | None = field(default=None, repr=False)
    """Of who comes by HTTPS."""
    networks: tuple[str, ...] = ()
    """From where they do."""

    @property
    def web(self) -> bool:
        """Whether they come by HTTPS."""
        return self.passphrase is not None


def read_access(entry: dict[str, Any], name: str) -> Access:
    """That of the person of this entry. Raises GuestError, quotes no value."""
    ways = entry.get("access", ["ssh"])
    need(isinstance(ways, list) and bool(ways), f"the access of {name} is malformed")
    sound = all(each in WAYS for each in ways) and len(set(ways)) == len(ways)
    need(sound, f"the access of {name} is malformed")
    if "web" not in ways:
        unasked = any(entry.get(each) is not None for each in ("web_passphrase", "web_from"))
        need(not unasked, f"{name} has a passphrase or networks, and no web")
        return Access()
    text(name, PERSON, f"as a part of a web address, the name of {name}")
    networks = reading.networks(entry.get("web_from"), f"web_from of {name}")
    need(bool(networks), f"{name} comes by HTTPS from nowhere")
    passphrase = text(entry.get("web_passphrase"), PASSPHRASE, f"the passphrase of {name}")
    return Access("ssh" in ways, passphrase, networks)
