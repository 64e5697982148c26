"""A researcher's request: who logs in, from where, with what, and to which machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails

from cloudinit.guest.methods import METHODS
from infra import factors
from infra.model.authenticators import MOST, Issued, parts
from infra.model.fields import (
    MAKE_ENROLLMENT,
    OWN,
    SHARED,
    AuthenticatorName,
    ClosedFrom,
    EnrollmentId,
    Gpu,
    Key,
    LastDay,
    MachineImage,
    MachineName,
    Method,
    Model,
    Name,
    Payer,
    Rebuild,
    RememberHours,
    custom,
)
from infra.model.machine import MachineSize
from infra.model.names import LABEL_PATTERN
from infra.model.networks import check_cidr, is_world_open
from infra.model.problems import Problem, RefusedError
from infra.model.ssh_keys import check_ssh_key, key_blob
from infra.model.yaml_lines import Document, Location, dotted

MOST_KEYS, MOST_NETWORKS = 50, 250
"""Of one request: a firewall and a roster of thousands would be read by nobody."""

IDENTITY_PATTERN = "^[!-~]([ -~]{0,253}[!-~])?$"
"""ASCII, and no longer than a `sub` is (OpenID Connect Core 1.0, 2)."""

SSH: Literal["ssh"] = "ssh"
WEB: Literal["web"] = "web"

# Told apart by what is written, so that a fault is told of that one alone.
OwnOrShared = Annotated[
    Annotated[MachineSize, Tag(OWN)] | Annotated[MachineName, Tag(SHARED)],
    Discriminator(lambda value: SHARED if isinstance(value, str) else OWN),
]


class InstanceRequest(Model):
    """One researcher's request for a machine."""

    researcher: Name = Field(description="User name; the file is called <researcher>.yaml.")
    factors: Method = Field(
        default=factors.DEFAULT,
        description="What a login takes.",
    )
    access: tuple[Literal["ssh", "web"], ...] = Field(
        default=(SSH,),
        description="How they come in: by SSH, in a browser to their Jupyter, or both.",
        json_schema_extra={"minItems": 1, "uniqueItems": True},
    )
    ssh_keys: tuple[Key, ...] = Field(
        default=(),
        validate_default=True,
        description="Lines of .pub files; FIDO2 keys (sk-...) too.",
    )
    open_to_world: bool = Field(
        default=False, description="Let allowed_from cover more than a /8 (IPv6: a /16)."
    )
    allowed_from: tuple[str, ...] = Field(
        description="Networks (CIDR) that logins come from. On the local target: 127.0.0.0/8.",
        json_schema_extra={"minItems": 1},
    )
    web_allowed_from: tuple[str, ...] = Field(
        default=(),
        validate_default=True,
        description="Networks (CIDR) from which a browser reaches their Jupyter; with `web` in"
        " access, and then needed. On the local target: 127.0.0.0/8.",
    )
    oidc: str | None = Field(
        default=None,
        description="By which value of the claim `secondlock:oidcClaim` the stack's OpenID provider"
        " knows them: then a browser leads there, and asks for no passphrase.",
        json_schema_extra={"pattern": IDENTITY_PATTERN},
    )
    machine: OwnOrShared = Field(
        default=MachineSize(),
        description="Size of a machine of one's own, where every part has a default; or the name"
        " of a shared one, `machines/<name>.yaml`.",
    )
    gpus: tuple[Gpu, ...] | None = Field(
        default=None,
        description="Which GPUs of a shared machine are theirs, by number from 0; `secondlock"
        " request` writes it. A machine of one's own has all of its own.",
    )
    enrollment: EnrollmentId = Field(
        description="Id of the phone's enrollment; `secondlock request` and `rotate` write it."
    )
    authenticators: dict[AuthenticatorName, EnrollmentId] | None = Field(
        default=None,
        description="What shows codes, by name, each with its id: all of them, where there are more"
        " or others than the enrollment's phone. `secondlock enroll --device` writes it.",
        json_schema_extra={"minProperties": 1, "maxProperties": MOST},
    )
    emergency_codes: EnrollmentId | None = Field(
        default=None,
        description="Id of the emergency codes, where they are not the enrollment's; `secondlock"
        " codes` writes it.",
    )
    remember_hours: RememberHours | None = Field(
        default=None,
        description="For how many hours a code stands for the next ones, by a certificate; at most"
        " the stack's `secondlock:rememberHours`, which holds with `key+totp` where nothing is"
        " said.",
    )
    rebuild: Rebuild = 0
    tensorflow_image: MachineImage = None
    end_sessions: bool = Field(
        default=False, description="End open sessions when the enrollment changes."
    )
    cost_centre: Payer = None
    until: LastDay = None
    closed_from: ClosedFrom = None

    _document: Document | None = PrivateAttr(default=None)

    @field_validator("access", mode="before")
    @classmethod
    def _check_access(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        if not value:
            mend = "remove the field: then it is by SSH"
            raise custom(RefusedError("no way in: nobody could log in", mend))
        if len({*map(str, value)}) < len(value):
            raise custom(RefusedError("one of them stands in this list twice", "write it once"))
        method = info.data.get("factors")
        if WEB in value and method is not None and not _fields_of(method):
            what = f"web takes a code, and a login by {method} has none"
            raise custom(RefusedError(what, "take a method with codes"))
        if WEB in value and not re.fullmatch(LABEL_PATTERN, info.data.get("researcher", "a")):
            what = "web needs a name that a web address can have"
            raise custom(RefusedError(what, "take one of a-z, 0-9, and - between them"))
        return tuple(value)

    @field_validator("ssh_keys", mode="before")
    @classmethod
    def _check_keys(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        keys, errors = _check_items(value, check_ssh_key, key_blob, MOST_KEYS)
        # Where the method itself is wrong, that alone is told.
        asked = "factors" in info.data and SSH in info.data.get("access", (SSH,))
        for factor in factors.of(info.data["factors"]).values() if asked else ():
            if fault := factor.fault("ssh_keys", value):
                errors.append(_error((), RefusedError(*fault)))
        return _all_or_errors(keys, errors)

    @field_validator("oidc")
    @classmethod
    def _check_oidc(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(IDENTITY_PATTERN, value):
            what = "not 1 to 255 of what is seen of ASCII, blanks within it alone"
            raise custom(RefusedError(what, "write it as the provider does"))
        if WEB not in info.data.get("access", (WEB,)):
            mend = "access: [ssh, web], or remove it"
            raise custom(RefusedError("says nothing without `web` in access", mend))
        return value

    @field_validator("gpus", mode="before")
    @classmethod
    def _check_gpus(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        if not isinstance(info.data.get("machine", ""), str):
            what = "says nothing of a machine of one's own, which has all of its GPUs"
            raise custom(RefusedError(what, "remove it"))
        if repeated := sorted({each for each in value if value.count(each) > 1}, key=str):
            raise custom(RefusedError(f"{repeated[0]} stands in this list twice", "write it once"))
        return tuple(value)

    @field_validator("authenticators", "emergency_codes")
    @classmethod
    def _check_asked_for(cls, value: object, info: ValidationInfo) -> object:
        method = info.data.get("factors")
        if value is not None and method is not None and info.field_name not in _fields_of(method):
            mend = "remove it, or take a method with codes"
            raise custom(RefusedError(f"a login by {method} asks for no code", mend))
        return value

    @field_validator("authenticators")
    @classmethod
    def _check_authenticators(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is None:
            return None
        if not value:
            what = "no authenticator: nobody could log in"
            raise custom(RefusedError(what, "remove the field: then it is the enrollment's phone"))
        if len(value) > MOST:
            raise custom(RefusedError(f"{len(value)} of them, and there may be at most {MOST}"))
        if len(set(value.values())) < len(value):
            what = "two of them have the same id"
            raise custom(RefusedError(what, f"each has its own: {MAKE_ENROLLMENT}"))
        return value

    @field_validator("allowed_from", "web_allowed_from", mode="before")
    @classmethod
    def _check_networks(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        networks, errors = _check_items(value, check_cidr, str, MOST_NETWORKS)
        if info.field_name == "web_allowed_from":
            asked = WEB in info.data.get("access", ())
            if value and not asked and "access" in info.data:
                what = "says nothing without `web` in access"
                errors.append(_error((), RefusedError(what, "access: [ssh, web], or remove it")))
        else:
            asked = True
        if asked and not value:
            mend = "write the networks that logins come from"
            errors.append(_error((), RefusedError("no network: nobody could log in", mend)))
        if is_world_open(networks) and not info.data.get("open_to_world"):
            what = "open to the world: more than a /8 (IPv6: a /16), taken together"
            mend = "name the networks you log in from; if it must be, write open_to_world: true"
            errors.append(_error((), RefusedError(what, mend)))
        return _all_or_errors(networks, errors)


def takes_codes(method: object) -> bool:
    """Whether a login by this method, if it is one, asks for a code."""
    return method not in METHODS or bool(_fields_of(str(method)))


def _fields_of(method: str) -> set[str]:
    """The fields that are for some methods alone, and for this one."""
    return {field for factor in factors.of(method).values() for field in factor.FIELDS}


def issued(request: InstanceRequest) -> Issued:
    """The ids of all that is issued to a person besides the enrollment; the field of each.

    Nothing for who logs in without codes.
    """
    if not _fields_of(request.factors):
        return {}
    return parts(request.enrollment, request.authenticators, request.emergency_codes)


def remember_hours(request: InstanceRequest, most: int) -> int:
    """For how many hours a code of this person stands for the next ones, in a stack that allows
    `most`; 0 for who types none.

    Whose other factor is no key that can be copied is remembered only where the request says so:
    what stands for their code would stand for that too.
    """
    if not _fields_of(request.factors) or SSH not in request.access:
        return 0
    if request.remember_hours is None:
        return most if request.factors == factors.DEFAULT else 0
    return request.remember_hours


def by_passphrase(request: InstanceRequest) -> bool:
    """Whether a browser asks this person for passphrase and code."""
    return WEB in request.access and request.oidc is None


def machine_name(request: InstanceRequest) -> str:
    """The machine's name: one of their own is called after its researcher."""
    return request.machine if isinstance(request.machine, str) else request.researcher


def problem_at(request: InstanceRequest, location: Location, what: str, mend: str) -> Problem:
    """A problem with a value of a request, with its line when it came from a file."""
    name = dotted(location)
    if request._document is None:
        return Problem(None, None, f"{request.researcher}: {name}: {what}", mend)
    return request._document.problem(location, f"{name}: {what}", mend)


def _error(location: Location, refused: RefusedError) -> InitErrorDetails:
    return InitErrorDetails(type=custom(refused), loc=location, input=None)


def _check_items(
    values: Sequence[object], check: Callable[[str], str], identity: Callable[[str], str], most: int
) -> tuple[list[str], list[InitErrorDetails]]:
    """The items that pass, and an error for each of the others and for each repetition."""
    good: list[str] = []
    errors: list[InitErrorDetails] = []
    if len(values) > most:
        refused = RefusedError(f"{len(values)} of them, and there may be at most {most}")
        return [], [_error((), refused)]
    seen: set[str] = set()
    for index, value in enumerate(values):
        if not isinstance(value, str):
            errors.append(InitErrorDetails(type="string_type", loc=(index,), input=None))
            continue
        try:
            item = check(value)
        except RefusedError as refused:
            errors.append(_error((index,), refused))
            continue
        if identity(item) in seen:
            repeated = RefusedError("stands in this list already", "remove one of them")
            errors.append(_error((index,), repeated))
            continue
        seen.add(identity(item))
        good.append(item)
    return good, errors


def _all_or_errors(items: list[str], errors: list[InitErrorDetails]) -> tuple[str, ...]:
    if errors:
        # Pydantic takes a nested ValidationError apart: each error keeps its own place.
        raise ValidationError.from_exception_data("list", errors)
    return tuple(items)
