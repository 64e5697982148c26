"""A stack's own settings: the values under `secondlock:` in its Pulumi configuration."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from infra.model.images import check_image
from infra.model.instance_types import check_instance_type
from infra.model.networks import check_cidr, is_within
from infra.model.problems import Problem, ProblemsError, RefusedError
from infra.model.text import brief, first_hidden, shell_word

STACK_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$"
"""Narrower than Pulumi's rule: the name becomes a folder and a part of host aliases."""

ZONE_PATTERN = r"^[a-z]{2}(-[a-z]+)+-[0-9]+[a-h]$"
"""An availability zone: its region and a letter. Local and wavelength zones have no such name."""

COST_CENTRE_PATTERN = r"^(?! )[\w .:/=+@-]{1,256}(?<! )$"
"""What EC2 takes as a tag's value (EC2 User Guide, "Tag restrictions"), blanks only between others:
at an end nobody sees them, and the bills of `4711` and `4711 ` are two."""

SEED_KEY = "enrollmentSeed"
"""The one secret; `infra.enrollment` takes it, the settings never hold it."""

_MAIL = "[!-+\\--?A-~]{1,64}"  # what is seen of ASCII, less the comma and the @
_FINGERPRINT_PATTERN = "^[0-9a-f]{16}$"
_WORD = r"[a-z0-9_-]+@[A-Za-z0-9._/-]+"
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
# What PutRetentionPolicy takes (CloudWatch Logs API Reference), in days.
_RETENTION = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip


class Settings(BaseModel):
    """What holds for a whole stack. From `zones` on: for the target aws only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    stack: str
    target: Literal["local", "aws"] = "local"
    seed_fingerprint: str | None = None
    """Of the seed that the stack's phones were enrolled with; see `enrollment.check_seed`."""
    new_seed: bool = False
    delete_data: tuple[str, ...] = ()
    """MACHINE@PLACE of each machine whose data there may be deleted; see `infra.record`."""
    older_bundle: bool = False
    """Whether machines may go back to programs of ours that they have gone on from."""
    tensorflow_image: str | None = None
    """`name@sha256:digest`, or None for the target's own; aws has none of its own."""
    zones: tuple[str, ...] = ()
    """Availability zones, all of one region."""
    vpc_cidr: str = "10.77.0.0/16"
    on_destroy: Literal["delete", "snapshot"] | None = None
    """What becomes of the data when a machine goes; never None on aws."""
    base_image: str | None = None
    """The pinned official Debian AMI; never None on aws."""
    bake: bool = True
    """Whether EC2 Image Builder makes an image of it, or cloud-init installs at each first boot."""
    instance_type: str = "g4dn.xlarge"
    """Of requests that name none."""
    cost_centre: str = ""
    log_retention_days: int = 180
    """Half a year, as China's Cybersecurity Law (article 21) and auditors elsewhere ask."""
    alarms: bool = True
    alert_email: str = ""

    @property
    def region(self) -> str:
        """That of the zones; empty where there are none."""
        return self.zones[0][:-1] if self.zones else ""


def load_settings(stack: str, values: Mapping[str, str]) -> Settings:
    """Settings from the configuration's values, keyed without the `secondlock:` prefix.

    Raises ProblemsError with every error and the `pulumi config` command that mends it.
    """
    problems = _stack_problems(stack) + [
        problem for key, value in values.items() for problem in _problems(key, value, stack)
    ]
    problems += _target_problems(stack, values)
    if problems:
        raise ProblemsError(problems)
    read = {
        _FIELDS[key]: _READ.get(key, str)(value) for key, value in values.items() if key != SEED_KEY
    }
    return Settings.model_validate({"stack": stack, **read})


def setting_problems(stack: str, key: str, value: str) -> list[Problem]:
    """What is wrong with one setting, keyed without its prefix."""
    return _problems(key, value, stack)


def split_zones(value: str) -> tuple[str, ...]:
    """The zones in a comma-separated list. Raises RefusedError."""
    zones = tuple(zone.strip() for zone in value.split(","))
    for zone in zones:
        if not re.fullmatch(ZONE_PATTERN, zone):
            raise RefusedError(
                f"'{brief(zone, 40)}' is not an availability zone, such as eu-west-1a"
            )
    if len(set(zones)) < len(zones):
        raise RefusedError("the same zone twice")
    if len({zone[:-1] for zone in zones}) > 1:
        raise RefusedError("zones of more than one region: a stack lies in one")
    return zones


def _stack_problems(stack: str) -> list[Problem]:
    if re.fullmatch(STACK_PATTERN, stack):
        return []
    what = f"'{brief(stack)}' cannot be a stack's name here: a-z, 0-9, _ and -, at most 63"
    return [Problem(None, None, what, f"pulumi stack rename NAME --stack {shell_word(stack)}")]


def _problems(key: str, value: str, stack: str) -> list[Problem]:
    if key not in _KEYS:
        near = difflib.get_close_matches(key, _KEYS, n=1)
        hint = f": did you mean secondlock:{near[0]}?" if near else ""
        mend = f"pulumi config rm {shell_word(f'secondlock:{key}')} --stack {stack}"
        return [Problem(None, None, f"unknown setting secondlock:{brief(key)}{hint}", mend)]
    if key not in _CHECKS:
        return []
    try:
        _check_seen(value)
        _CHECKS[key](value)
    except RefusedError as refused:
        mend = f"pulumi config set secondlock:{key} VALUE --stack {stack}"
        return [Problem(None, None, f"secondlock:{key}: {refused}", mend)]
    return []


def _check_seen(value: str) -> None:
    """Raises RefusedError for what a reviewer of the stack's file would not see."""
    if first_hidden(value) is not None:
        raise RefusedError("a control character, or one that is not seen, stands in it")


def _target_problems(stack: str, values: Mapping[str, str]) -> Iterator[Problem]:
    """Settings that the stack's target needs and has not, or has and knows nothing of."""
    target = values.get("target", "local")
    if target == "aws":
        for key, mend in _NEEDED.items():
            if not values.get(key):
                what = f"secondlock:{key} is not set; the target aws needs it"
                yield Problem(None, None, what, f"{mend} --stack {stack}")
    if target == "local":
        for key in values:
            if key in _AWS:
                what = f"secondlock:{key} says nothing on the target local"
                mend = f"pulumi config rm secondlock:{key} --stack {stack}"
                yield Problem(None, None, what, mend)


_AWS = {
    "zones": "zones",
    "vpcCidr": "vpc_cidr",
    "onDestroy": "on_destroy",
    "baseImage": "base_image",
    "bake": "bake",
    "instanceType": "instance_type",
    "costCentre": "cost_centre",
    "logRetentionDays": "log_retention_days",
    "alarms": "alarms",
    "alertEmail": "alert_email",
}
_FIELDS = {
    "target": "target",
    "seedFingerprint": "seed_fingerprint",
    "newSeed": "new_seed",
    "deleteData": "delete_data",
    "olderBundle": "older_bundle",
    "tensorflowImage": "tensorflow_image",
    **_AWS,
}
_KEYS = (*_FIELDS, SEED_KEY)
_NEEDED = {
    "zones": "pulumi config set secondlock:zones REGIONa,REGIONb",
    "onDestroy": "pulumi config set secondlock:onDestroy delete|snapshot",
    "baseImage": "./secondlock image pin",
    "tensorflowImage": "./secondlock image pin",
}


def _one_of(*allowed: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in allowed:
            raise RefusedError(f"expected {', '.join(allowed[:-1])} or {allowed[-1]}")
        return value

    return check


def _matches(pattern: str, expected: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise RefusedError(f"expected {expected}")
        return value

    return check


def _check_vpc(value: str) -> str:
    """Raises RefusedError. The VPC is cut into sixteen subnets, none smaller than a /28."""
    network = ipaddress.ip_network(check_cidr(value))
    if not isinstance(network, ipaddress.IPv4Network) or not 16 <= network.prefixlen <= 24:
        raise RefusedError("expected an IPv4 network from a /16 to a /24")
    if not is_within(network, map(ipaddress.ip_network, _PRIVATE)):
        raise RefusedError("expected private addresses (RFC 1918), such as 10.77.0.0/16")
    return value


_boolean = _one_of("true", "false")
_CHECKS: dict[str, Callable[[str], object]] = {
    "target": _one_of("local", "aws"),
    "newSeed": _boolean,
    "olderBundle": _boolean,
    "seedFingerprint": _matches(_FINGERPRINT_PATTERN, "16 hex digits"),
    "deleteData": _matches(f"{_WORD}( *, *{_WORD})*|^$", "MACHINE@PLACE, as the plan names it"),
    "tensorflowImage": check_image,
    "zones": split_zones,
    "vpcCidr": _check_vpc,
    "onDestroy": _one_of("delete", "snapshot"),
    "baseImage": _matches("^ami-[0-9a-f]{8}([0-9a-f]{9})?$", "the id of an AMI, such as ami-..."),
    "bake": _boolean,
    "instanceType": check_instance_type,
    "costCentre": _matches(
        f"{COST_CENTRE_PATTERN}|^$", "letters, digits, .:/=+@_- and blanks between them"
    ),
    "logRetentionDays": _one_of(*map(str, _RETENTION)),
    "alarms": _boolean,
    "alertEmail": _matches(rf"^({_MAIL}@{_MAIL}\.{_MAIL})?$", "one e-mail address"),
}
_READ: dict[str, Callable[[str], Any]] = {
    "newSeed": lambda value: value == "true",
    "olderBundle": lambda value: value == "true",
    "deleteData": lambda value: tuple(one.strip() for one in value.split(",") if one.strip()),
    "zones": split_zones,
    "bake": lambda value: value == "true",
    "logRetentionDays": int,
    "alarms": lambda value: value == "true",
}
