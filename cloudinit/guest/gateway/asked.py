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


def read_access(entry: dict[str, Any], name: str) -> tuple[bool, str | None]:
    """Whether the person of this entry comes by SSH, and the passphrase of who comes by HTTPS."""
    ways = entry.get("access", ["ssh"])
    need(isinstance(ways, list) and bool(ways), f"the access of {name} is malformed")
    sound = all(each in WAYS for each in ways) and len(set(ways)) == len(ways)
    need(sound, f"the access of {name} is malformed")
    if "web" not in ways:
        need(entry.get("web_passphrase") is None, f"{name} has a passphrase and no web")
        return True, None
    text(name, PERSON, f"as a part of a web address, the name of {name}")
    passphrase = entry.get("web_passphrase")
    return "ssh" in ways, text(passphrase, PASSPHRASE, f"the passphrase of {name}")
