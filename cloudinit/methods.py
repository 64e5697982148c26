"""The ways to log in, as sshd and PAM are told of them: each composed of its factors' own parts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from cloudinit.facets import Facet, Target, facets
from cloudinit.guest.methods import METHODS, factors

_PAM = "keyboard-interactive:pam"
# As machines have called them from the beginning: their accounts are in these groups.
_NAMES = {"key+totp": "key", "password+totp": "password"}


@dataclass(frozen=True)
class Method:
    """One of METHODS."""

    name: str
    group: str
    """Whose members log in by it."""
    service: str
    """PAM's name for its stack (sshd_config(5), PAMServiceName)."""
    sshd: str
    """What sshd asks for, in its order (sshd_config(5), AuthenticationMethods)."""
    pam: tuple[str, ...]
    """Modules with their arguments, in their order; each must succeed (pam.d(5), requisite)."""
    settings: tuple[str, ...]
    """What else sshd is told of it: lines of sshd_config(5), for a Match."""
    by_sshd: bool
    """Whether sshd checks a factor itself, before PAM is asked for the others."""

    def document(self) -> dict[str, Any]:
        """What programs on the machine go by."""
        return {"group": self.group, "service": self.service, "by_sshd": self.by_sshd}


@functools.cache
def methods(target: Target) -> tuple[Method, ...]:
    """All of them; the first is whose connections sshd takes for any others'."""
    known = {facet.name: facet for facet in facets(target)}
    return tuple(
        _method(name, [known[each] for each in factors(name)], first=name == METHODS[0])
        for name in METHODS
    )


def _method(name: str, parts: list[Facet], *, first: bool) -> Method:
    short = _NAMES.get(name, name.replace("+", "-"))
    own = [str(part.factor["sshd"]) for part in parts if "sshd" in part.factor]
    settings = {k: v for part in parts for k, v in part.factor.get("settings", {}).items()}
    if first and settings:
        raise ValueError(f"{name} cannot be the first method: sshd is told more of it")
    asked = [line for part in parts for line in part.factor.get("pam", ())]
    return Method(
        name=name,
        group=f"secondlock-{short}",
        service="sshd" if first else f"sshd-{short}",
        sshd=",".join([*own, *([_PAM] if asked else [])]),
        pam=tuple(line.format(method=name, sshd=" ".join(own)).strip() for line in asked),
        settings=tuple(f"{keyword} {value}" for keyword, value in settings.items()),
        by_sshd=bool(own),
    )
