"""What machines are sent and say, and what a stack says of them: each as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.enrollment import derive, derive_host_key
from tests.support.request_files import ECDSA, KEY, rsa_key, security_key

if TYPE_CHECKING:
    from pathlib import Path

SEED = "8d1f6c0be2a94775d0c3b1a2f4e5968790ab1c2d3e4f50617283940a5b6c7d8e"
STATUS: dict[str, Any] = {
    "time": "2026-11-22T16:00:00Z",
    "stack": "lab",
    "machine": "alice",
    "serial": 3,
    "error": None,
    "clock": {"synchronised": True, "offset_seconds": 0.0012, "source": "PHC"},
    "door": "open",
    "certificate_days": None,
    "audit": {"seq": 7, "hash": "ab" * 32, "sent": None, "lost": 0, "error": None},
    "bans": [],
    "researchers": {
        "alice": {
            "factors": "key+totp",
            "frozen": False,
            "wrong_codes": 0,
            "emergency_codes_left": 5,
            "sessions": 1,
            "last_login": None,
            "workspace": "running",
        }
    },
    "idle": {"load1": 0.1, "sessions": 1},
}
"""A machine's line."""

ALICE: dict[str, Any] = STATUS["researchers"]["alice"]


def outputs(root: Path) -> dict[str, Any]:
    """The stack's output `machines`: alice's is a local one."""
    host_key = derive_host_key(SEED, stack="lab", machine="alice").public_openssh
    return {
        "alice": {
            "address": "127.0.0.1",
            "port": 40022,
            "host_key": host_key,
            "running": True,
            "serial": 3,
            "researchers": ["alice"],
            "target": "local",
            "directory": str(root / "machines"),
        }
    }


def document() -> dict[str, Any]:
    """A roster as the program writes it, with one researcher of each kind."""
    people: dict[str, Any] = {}
    for number, (name, factors) in enumerate({"alice": "key+totp", "bob": "password+totp"}.items()):
        one = derive(
            SEED,
            stack="demo",
            machine="lab",
            researcher=name,
            enrollment=f"{number + 10:032x}",
            method=factors,
        )
        people[name] = {
            "ssh_keys": [f"{KEY} büro: 🦊", ECDSA, rsa_key(3072), security_key()],
            "factors": factors,
            "enrollment": f"{number + 10:032x}",
            "end_sessions": False,
            **one.entry,
        }
    return {
        "version": 1,
        "stack": "demo",
        "machine": "lab",
        "host_key": derive_host_key(SEED, stack="demo", machine="lab").private_openssh,
        "allowed_from": ["10.0.0.0/8", "2001:db8::/32"],
        "retired": ["f" * 31 + "e"],
        "researchers": people,
    }


def envelope(**fields: Any) -> dict[str, Any]:
    """What arrives, with some of the roster's fields put otherwise."""
    return {"serial": 3, "modified": 1.5, "roster": {**document(), **fields}}
