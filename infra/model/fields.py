"""The kinds of values that people write, each with its check; the base of all models."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from cloudinit.guest.methods import METHODS
from infra.model.images import IMAGE_PATTERN, check_image
from infra.model.instance_types import INSTANCE_TYPE_PATTERN, check_instance_type
from infra.model.names import (
    AUTHENTICATOR_PATTERN,
    COST_CENTRE_PATTERN,
    NAME_PATTERN,
    ZONE_PATTERN,
    check_authenticator_name,
    check_machine_name,
    check_researcher_name,
)
from infra.model.problems import RefusedError
from infra.model.ssh_keys import KEY_TYPES

MAKE_ENROLLMENT = "write 32 hex digits, as `openssl rand -hex 16` prints them"

MOST_HOURS = 12
"""For how long a code may stand for the next ones."""

OWN, SHARED = "<size>", "<name>"
"""Pydantic's names for what `machine` may be: it tells faults of a field behind one of them."""

_DAY = "expected a day, such as 2026-11-22"
_DAY_PATTERN = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT = "expected a time with its zone, such as 2026-12-18T12:00+08:00"
_MOMENT_PATTERN = _DAY_PATTERN + "[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_ENROLLMENT_PATTERN = "^[0-9a-f]{32}$"
_KEY_PATTERN = f"^({'|'.join(KEY_TYPES)}) [A-Za-z0-9+/]+=*( .*)?$".replace(".com", "[.]com")


def _check_method(value: object) -> object:
    if not isinstance(value, str) or value not in METHODS:
        expected = " or ".join(repr(each) for each in METHODS)
        raise PydanticCustomError("literal_error", "{expected}", {"expected": expected})
    return value


class Model(BaseModel):
    """What YAML gives, taken strictly: what it reads as a number is no name."""

    # Inputs hidden: they might be secrets.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def _check_enrollment(text: str) -> str:
    if not re.fullmatch(_ENROLLMENT_PATTERN, text):
        raise RefusedError("not 32 lower-case hex digits", MAKE_ENROLLMENT)
    if len(set(text)) == 1:
        raise RefusedError("one digit 32 times, not a random id", MAKE_ENROLLMENT)
    return text


def _matching(pattern: str, what: str, mend: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise RefusedError(what, mend)
        return text

    return check


_check_zone = _matching(ZONE_PATTERN, "not an availability zone", "such as eu-west-1a")
_check_cost_centre = _matching(
    COST_CENTRE_PATTERN,
    "not a tag's value",
    "1 to 256 letters, digits, .:/=+@_- and blanks between them",
)


def _checked(check: Callable[[str], str]) -> AfterValidator:
    """A validator out of a function that raises RefusedError."""

    def validate(text: str) -> str:
        try:
            return check(text)
        except RefusedError as refused:
            raise custom(refused) from None

    return AfterValidator(validate)


def custom(refused: RefusedError) -> PydanticCustomError:
    """A refusal as Pydantic takes it; `infra.model.explain` tells it in its own words."""
    return PydanticCustomError("refused", "{problem}", {"problem": refused.problem})


def _read_as(kind: type[dt.date], pattern: str, expected: str) -> BeforeValidator:
    """A validator of text in this one spelling (ISO 8601): a number would be seconds since 1970."""

    def read(value: object) -> object:
        if value is None or isinstance(value, kind):
            return value
        text = value if isinstance(value, str) else ""
        try:
            if re.fullmatch(pattern, text):
                return kind.fromisoformat(re.sub("[Zz]$", "+00:00", text))
        except ValueError:
            pass
        raise custom(RefusedError(expected))

    return BeforeValidator(read)


def _pattern(pattern: str) -> Any:
    """For editors, that know only the schema; the real check says more."""
    return Field(json_schema_extra={"pattern": pattern})


Name = Annotated[str, _checked(check_researcher_name), _pattern(NAME_PATTERN)]
MachineName = Annotated[str, _checked(check_machine_name), _pattern(NAME_PATTERN)]
AuthenticatorName = Annotated[
    str, _checked(check_authenticator_name), _pattern(AUTHENTICATOR_PATTERN)
]
Method = Annotated[
    str, BeforeValidator(_check_method), Field(json_schema_extra={"enum": [*METHODS]})
]
EnrollmentId = Annotated[str, _checked(_check_enrollment), _pattern(_ENROLLMENT_PATTERN)]
Image = Annotated[str, _checked(check_image), _pattern(IMAGE_PATTERN)]
Key = Annotated[str, _pattern(_KEY_PATTERN)]
InstanceType = Annotated[str, _checked(check_instance_type), _pattern(INSTANCE_TYPE_PATTERN)]
Zone = Annotated[str, _checked(_check_zone), _pattern(ZONE_PATTERN)]
CostCentre = Annotated[str, _checked(_check_cost_centre)]
Day = Annotated[dt.date, _read_as(dt.date, _DAY_PATTERN, _DAY)]
# With a time zone: what is noon depends on who reads it.
Moment = Annotated[dt.datetime, _read_as(dt.datetime, _MOMENT_PATTERN, _MOMENT)]

Gpu = Annotated[int, Field(ge=0, le=63)]

RememberHours = Annotated[int, Field(ge=0, le=MOST_HOURS)]

# Of a machine, whether its researcher's request says them or a shared one's file.
Rebuild = Annotated[int, Field(ge=0, le=1_000_000, description="Raise it to rebuild the machine.")]
MachineImage = Annotated[
    Image | None,
    Field(description="TensorFlow image as name@sha256:digest; without it, the stack's."),
]
Payer = Annotated[
    CostCentre | None, Field(description="Who pays, as a tag; without it, the stack's.")
]
ClosedFrom = Annotated[
    Moment | None,
    Field(
        description="From then on nobody is on the machine, until this goes: with its time zone,"
        " such as 2026-12-18T12:00+08:00."
    ),
]
LastDay = Annotated[Day | None, Field(description="Last day that the machine is wanted, as a tag.")]
