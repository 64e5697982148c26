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
IDENTITY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
ISSUER = re.compile(
    rf"https://{LABEL}(?:\.{LABEL}){{0,9}}(?::[1-9][0-9]{{1,4}})?(?:/[A-Za-z0-9._~/-]*)?"
)
CLIENT, SECRET = re.compile(r"[!-~]{1,255}"), re.compile(r"[!-~]{1,512}")
CLAIM, ACR = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,99}"), re.compile(r"[!-~]{1,200}")
CERTIFICATES = re.compile(f"(?:{PEM.format('CERTIFICATE')}){{1,5}}")
KEY = re.compile(PEM.format("PRIVATE KEY"))


@dataclass(frozen=True)
class Provider:
    """An OpenID provider that vouches for some."""

    issuer: str
    client: str
    secret: str = field(repr=False)
    claim: str = "sub"
    """Which of its word's says who somebody is."""
    acr: tuple[str, ...] = ()
    """Which of `acr` tell of several factors; none: `amr` does."""
    authority: str | None = None
    """PEM; None: those that Debian trusts."""


@dataclass(frozen=True)
class Door:
    """That of a machine on which anybody has it."""

    host: str
    """Of the hub; each person's is theirs with this behind it."""
    certificate: str
    """PEM, with those that it rests on."""
    key: str = field(repr=False)
    networks: tuple[str, ...] = ()
    ends: int | None = None
    """When the certificate does (seconds since 1970), where the roster says so."""
    provider: Provider | None = None
    form: bool = True
    """Whether anybody comes by passphrase."""


@dataclass(frozen=True)
class Access:
    """How one person comes in."""

    ssh: bool = True
    passphrase: str | None = field(default=None, repr=False)
    """What a browser asks them for with the code."""
    networks: tuple[str, ...] = ()
    """From where they come by HTTPS."""
    identity: str | None = None
    """What the provider calls them, where a browser leads them there instead."""

    @property
    def web(self) -> bool:
        """Whether they come by HTTPS."""
        return self.passphrase is not None or self.identity is not None


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
        ends=_ends(value.get("ends")),
        provider=_provider(value.get("provider")),
    )


def _ends(value: Any) -> int | None:
    sound = value is None or (reading.is_number(value, (int,)) and value < 2**38)
    need(sound, "the end of the web's certificate is malformed")
    return None if value is None else int(value)


def _provider(value: Any) -> Provider | None:
    if value is None:
        return None
    need(isinstance(value, dict), "what it says of a provider is not a mapping")
    issuer = text(value.get("issuer"), ISSUER, "the provider's issuer")
    port = issuer.partition("://")[2].partition("/")[0].partition(":")[2]
    need(int(port or 443) < 65536, "the provider's port is malformed")
    authority = value.get("authority")
    if authority is not None:
        authority = text(authority, CERTIFICATES, "the provider's authority")
    return Provider(
        issuer=issuer,
        client=text(value.get("client"), CLIENT, "the provider's client"),
        secret=text(value.get("secret"), SECRET, "the provider's secret"),
        claim=text(value.get("claim"), CLAIM, "the provider's claim"),
        acr=reading.texts(value.get("acr"), ACR, "an acr of the provider's"),
        authority=authority,
    )


def read_access(entry: dict[str, Any], name: str) -> Access:
    """Of the person of this entry. Raises GuestError, quotes no value."""
    ways = entry.get("access", ["ssh"])
    need(isinstance(ways, list) and bool(ways), f"the access of {name} is malformed")
    sound = all(each in WAYS for each in ways) and len(set(ways)) == len(ways)
    need(sound, f"the access of {name} is malformed")
    passphrase, identity = entry.get("web_passphrase"), entry.get("web_identity")
    if "web" not in ways:
        said = (passphrase, identity, entry.get("web_from"))
        need(not any(each is not None for each in said), f"{name} has something of the web's alone")
        return Access()
    text(name, PERSON, f"as a part of a web address, the name of {name}")
    networks = reading.networks(entry.get("web_from"), f"web_from of {name}")
    need(bool(networks), f"{name} comes by HTTPS from nowhere")
    if identity is None:
        passphrase = text(passphrase, PASSPHRASE, f"the passphrase of {name}")
    else:
        need(passphrase is None, f"{name} has a passphrase and a provider")
        identity = text(identity, IDENTITY, f"what a provider calls {name}")
    return Access("ssh" in ways, passphrase, networks, identity)
