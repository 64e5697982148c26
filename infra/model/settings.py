"""A stack's own settings: the values under `secondlock:` in its Pulumi configuration.

Each is said once: its name, how it is read and checked, what it is without, and what it means. The
table in docs/reference/reference.md is made of it.
"""

from __future__ import annotations

import difflib
import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, TypeAdapter
from pydantic import ValidationError as Invalid
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from infra.model.fields import MOST_HOURS
from infra.model.images import check_image
from infra.model.instance_types import TYPES, Hardware, check_instance_type
from infra.model.machine import MachineSize
from infra.model.names import COST_CENTRE_PATTERN, DOMAIN_PATTERN, ZONE_PATTERN
from infra.model.networks import check_cidr, is_within
from infra.model.problems import Problem, ProblemsError, RefusedError
from infra.model.text import brief, first_hidden, shell_word

STACK_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$"
"""Narrower than Pulumi's rule: the name becomes a folder and a part of host aliases."""

PREFIX = "secondlock:"
"""Of our keys in a stack's configuration."""

SEED_KEY = "enrollmentSeed"
"""A secret; `infra.enrollment` takes it, the settings never hold it."""

WEBHOOK_KEY, WEB_KEY, OIDC_KEY = "alertWebhook", "webKey", "oidcClientSecret"
SECRET_KEYS = (WEBHOOK_KEY, WEB_KEY, OIDC_KEY)
"""Other secrets, which the settings do hold: the rosters take them to the machines."""

INSTANCE_TYPE = "g4dn.xlarge"
"""The EC2 instance type of a stack that names none."""

_WEBHOOK = r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]{0,1000})?"
_ACR = r"[!-+\--~]{1,200}"
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ISSUER = rf"https://{_LABEL}([.]{_LABEL}){{0,9}}(:[1-9][0-9]{{1,4}})?(/[A-Za-z0-9._~/-]{{0,500}})?"
_PEM = r"-----BEGIN ([A-Z ]{1,30})-----\n[A-Za-z0-9+/=\n]+-----END \1-----"
_LONGEST_PEM = 32_768  # characters; five certificates have some ten thousand
_MAIL = "[!-+\\--?A-~]{1,64}"  # what is seen of ASCII, less the comma and the @
_FINGERPRINT_PATTERN = "^[0-9a-f]{16}$"
_WORD = r"[a-z0-9_-]+@[A-Za-z0-9._/-]+"
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
# What PutRetentionPolicy takes (CloudWatch Logs API Reference), in days.
_RETENTION = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip


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


def audit_days(values: Mapping[str, str]) -> int:
    """`auditRetentionDays` of a configuration whose keys have their prefix; the usual where it is
    wrong, which is told elsewhere."""
    try:
        return _days(values[f"{PREFIX}auditRetentionDays"])
    except (KeyError, RefusedError):
        return int(Settings.model_fields["audit_retention_days"].default)


def _pem(kind: str) -> Callable[[str], str]:
    """A reader of PEM blocks (RFC 7468) whose label ends in `kind`; what stands between goes."""

    def check(value: str) -> str:
        text = re.sub(r"[ \t]*\r?\n", "\n", value[: _LONGEST_PEM + 1])
        blocks = [match[0] for match in re.finditer(_PEM, text) if match[1].endswith(kind)]
        if value and (not blocks or len(text) > _LONGEST_PEM):
            raise RefusedError(f"expected PEM: -----BEGIN {kind}----- and so on")
        return "".join(f"{block}\n" for block in blocks)

    return check


def _truth(value: str) -> bool:
    return _one_of("true", "false")(value) == "true"


def _hours(value: str) -> int:
    return int(_one_of(*map(str, range(MOST_HOURS + 1)))(value))


def _days(value: str) -> int:
    return int(_one_of(*map(str, _RETENTION))(value))


def _words(value: str) -> tuple[str, ...]:
    _matches(f"{_WORD}( *, *{_WORD})*|^$", "MACHINE@PLACE, as the plan names it")(value)
    return tuple(one.strip() for one in value.split(",") if one.strip())


def _check_issuer(value: str) -> str:
    """Raises RefusedError. The guest reads it as strictly (guest/gateway/asked.py)."""
    _matches(f"^({_ISSUER})?$", "https:// and the issuer's name, as it writes it")(value)
    port = value.partition("://")[2].partition("/")[0].partition(":")[2]
    if int(port or 443) > 65535:
        raise RefusedError("no port has this number")
    return value


def _acr(value: str) -> tuple[str, ...]:
    _matches(f"^({_ACR}( *, *{_ACR})*)?$", "values, with commas between")(value)
    return tuple(one.strip() for one in value.split(",") if one.strip())


def _seen(value: str, allowed: str = "") -> str:
    """Raises RefusedError for what a reviewer of the stack's file would not see."""
    if first_hidden(value, allowed) is not None:
        raise RefusedError("a control character, or one that is not seen, stands in it")
    return value


def _read(read: Callable[[str], object], allowed: str = "") -> BeforeValidator:
    """A validator out of a function that reads what Pulumi's configuration holds: text.

    The function raises RefusedError; of what is not seen, `allowed` may stand there. What is no
    text comes from the program itself.
    """

    def validate(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return read(_seen(value, allowed))
        except RefusedError as refused:
            raise PydanticCustomError("refused", "{what}", {"what": str(refused)}) from None

    return BeforeValidator(validate)


def _set_by(command: str) -> Any:
    """For a setting that its target cannot do without: what sets it."""
    return Field(json_schema_extra={"set_by": command})


_LINES = "\n\r\t"
_Flag = Annotated[bool, _read(_truth)]
_PIN = "./secondlock image pin"


class Settings(BaseModel):
    """What holds for a whole stack, whatever its target."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    stack: str
    target: Annotated[Literal["local", "aws"], _read(_one_of("local", "aws"))] = "local"
    """Where machines run: QEMU on this computer, or EC2."""
    seed_fingerprint: Annotated[
        str | None, _read(_matches(_FINGERPRINT_PATTERN, "16 hex digits"))
    ] = None
    """Of the seed that the stack's phones were enrolled with: with another, nothing is made."""
    new_seed: _Flag = False
    """Whether another seed than the pinned one is meant: everybody enrols again."""
    delete_data: Annotated[tuple[str, ...], _read(_words)] = ()
    """MACHINE@PLACE of each machine whose data there may be deleted, as a refused plan names it."""
    remember_hours: Annotated[int, _read(_hours)] = 0
    """For how many hours (at most 12) a code may stand for the next; 0: each login takes one."""
    older_bundle: _Flag = False
    """Whether machines may go back to programs of ours that they have gone on from."""
    audit_retention_days: Annotated[int, _read(_days)] = 180
    """How long the record of who did what is kept: half a year, as China's Cybersecurity Law
    (article 21) asks."""
    audit_outlives_destroy: _Flag = False
    """Whether `pulumi destroy` leaves it until then."""
    tensorflow_image: Annotated[str | None, _read(check_image)] = None
    """The workspaces' image, `name@sha256:digest`; without it, the golden image's own."""
    alert_webhook: Annotated[
        str,
        _read(_matches(f"^({_WEBHOOK})?$", "a URL that begins with https://")),
        Field(repr=False),
    ] = ""
    """Where each machine posts what is wrong with it; to be set with `--secret`."""
    web_certificate: Annotated[str, _read(_pem("CERTIFICATE"), _LINES)] = ""
    """The machines' certificate for browsers, with those that it rests on (PEM), in place of one
    of the stack's own authority."""
    web_key: Annotated[str, _read(_pem("PRIVATE KEY"), _LINES), Field(repr=False)] = ""
    """Its private key (PEM, without a passphrase); to be set with `--secret`."""
    oidc_issuer: Annotated[str, _read(_check_issuer)] = ""
    """The OpenID provider that vouches for people who have `oidc` in their request."""
    oidc_client_id: Annotated[str, _read(_matches("^[!-~]{0,255}$", "the client's id"))] = ""
    """What the stack is called there."""
    oidc_client_secret: Annotated[
        str, _read(_matches("^[!-~]{0,512}$", "the client's secret")), Field(repr=False)
    ] = ""
    """What it proves that by; to be set with `--secret`."""
    oidc_claim: Annotated[
        str, _read(_matches("^[A-Za-z][A-Za-z0-9_.:/-]{0,99}$", "a claim's name, such as sub"))
    ] = "sub"
    """The claim that says who a person is. `email` counts where the provider has verified it."""
    oidc_acr: Annotated[tuple[str, ...], _read(_acr)] = ()
    """Which values of the claim `acr` tell of several factors, with commas between; without any,
    the claim `amr` has to hold `mfa`."""
    oidc_authority: Annotated[str, _read(_pem("CERTIFICATE"), _LINES)] = ""
    """Whose certificates the provider shows (PEM), where it is none that Debian trusts."""

    _unknown: frozenset[str] = PrivateAttr(frozenset())

    def knows(self, *names: str) -> bool:
        """Whether each of these is as people meant it, or without any names, all of them.

        What is wrong, or needed and missing, has its default, or is not there at all.
        """
        return self._unknown.isdisjoint(names) if names else not self._unknown

    def hardware(self, size: MachineSize) -> Hardware:
        """What a machine of this size has."""
        return Hardware(size.cpus, size.memory_gib, 0)

    @property
    def domain(self) -> str:
        """What the names of machines' HTTPS doors end in (RFC 6761, 6.3)."""
        return "localhost"


class AwsSettings(Settings):
    """What holds for a whole stack in EC2."""

    tensorflow_image: Annotated[str, _read(check_image), _set_by(_PIN)]
    """The workspaces' image, `name@sha256:digest`."""
    zones: Annotated[
        tuple[str, ...],
        _read(split_zones),
        _set_by("pulumi config set secondlock:zones REGIONa,REGIONb"),
    ]
    """Availability zones, all of one region."""
    vpc_cidr: Annotated[str, _read(_check_vpc)] = "10.77.0.0/16"
    """The stack's network: private addresses, from a /16 to a /24."""
    on_destroy: Annotated[
        Literal["delete", "snapshot"],
        _read(_one_of("delete", "snapshot")),
        _set_by("pulumi config set secondlock:onDestroy delete|snapshot"),
    ]
    """What becomes of the data when its machine goes."""
    base_image: Annotated[
        str,
        _read(_matches("^ami-[0-9a-f]{8}([0-9a-f]{9})?$", "the id of an AMI, such as ami-...")),
        _set_by(_PIN),
    ]
    """The pinned official Debian AMI."""
    bake: _Flag = True
    """Whether EC2 Image Builder makes an image of it, or each first boot installs the same."""
    instance_type: Annotated[str, _read(check_instance_type)] = INSTANCE_TYPE
    """Of requests that name none."""
    cost_centre: Annotated[
        str,
        _read(
            _matches(
                f"{COST_CENTRE_PATTERN}|^$", "letters, digits, .:/=+@_- and blanks between them"
            )
        ),
    ] = ""
    """Who pays, as a tag, where a request names nobody."""
    log_retention_days: Annotated[int, _read(_days)] = 180
    """How long logs are kept: half a year, as China's Cybersecurity Law (article 21) asks."""
    alarms: _Flag = True
    """Whether CloudWatch tells of guessing, frozen people, wrong clocks, full disks, silence."""
    alert_email: Annotated[
        str, _read(_matches(rf"^({_MAIL}@{_MAIL}\.{_MAIL})?$", "one e-mail address"))
    ] = ""
    """Whom they tell."""

    web_domain: Annotated[
        str, _read(_matches(f"^({DOMAIN_PATTERN})?$", "a domain, such as gpu.example.org"))
    ] = ""
    """What the names of machines end in, for who comes by HTTPS: MACHINE.STACK.DOMAIN."""

    @property
    def domain(self) -> str:
        """What the names of machines' HTTPS doors end in."""
        return self.web_domain

    def hardware(self, size: MachineSize) -> Hardware:
        """What a machine of this size has."""
        return TYPES[size.instance_type or self.instance_type]

    @classmethod
    def of(cls, settings: Settings) -> AwsSettings:
        """The settings of a stack that is on aws. Raises TypeError for another's."""
        if not isinstance(settings, cls):
            raise TypeError(f"stack {settings.stack} is on target {settings.target}")
        return settings

    @property
    def region(self) -> str:
        """That of the zones."""
        return self.zones[0][:-1]


MODELS: Mapping[str, type[Settings]] = {"local": Settings, "aws": AwsSettings}
"""By target."""


def _keys(model: type[Settings]) -> dict[str, str]:
    """The settings of a target: by the name in the configuration, the field's."""
    fields = model.model_fields
    return {str(field.alias): name for name, field in fields.items() if name != "stack"}


_KEYS = {key: name for model in MODELS.values() for key, name in _keys(model).items()}
_KNOWN = (*_KEYS, SEED_KEY)


def ours(config: Mapping[str, str]) -> dict[str, str]:
    """Every value of ours in a configuration, also those that are spelt wrongly, by its key without
    the prefix: pulumi.Config gives only by name."""
    return {key.removeprefix(PREFIX): one for key, one in config.items() if key.startswith(PREFIX)}


def load_settings(stack: str, values: Mapping[str, str]) -> Settings:
    """Settings from the configuration's values, keyed without the `secondlock:` prefix.

    Raises ProblemsError with all that `read_settings` finds.
    """
    settings, problems = read_settings(stack, values)
    if problems:
        raise ProblemsError(problems)
    return settings


def read_settings(stack: str, values: Mapping[str, str]) -> tuple[Settings, list[Problem]]:
    """A stack's settings, and every problem with the `pulumi config` command that mends it.

    `values` are keyed without their prefix. Of settings with a fault use only what they `know`.
    """
    problems = _stack_problems(stack)
    unknown = {"stack"} if problems else set()
    for key, value in values.items():
        problems += setting_problems(stack, key, value)
    problems += _target_problems(stack, values)
    model = MODELS.get(values.get("target", "local"), Settings)
    fields = _keys(model)
    written = {key: values[key] for key in fields if key in values}
    try:
        settings = model.model_validate({"stack": stack, **written})
    except Invalid as error:
        wrong = {str(one["loc"][0]) for one in error.errors(include_url=False)}
        unknown |= {fields[key] for key in wrong}
        sound = {fields[key]: written[key] for key in written.keys() - wrong}
        read = {name: _adapter(name).validate_python(value) for name, value in sound.items()}
        settings = model.model_construct(stack=stack, **read)
    settings._unknown = frozenset(unknown)
    return settings, problems


def setting_problems(stack: str, key: str, value: str) -> list[Problem]:
    """What is wrong with one setting, keyed without its prefix."""
    if key not in _KNOWN:
        near = difflib.get_close_matches(key, _KNOWN, n=1)
        hint = f": did you mean secondlock:{near[0]}?" if near else ""
        mend = f"pulumi config rm {shell_word(f'secondlock:{key}')} --stack {stack}"
        return [Problem(None, None, f"unknown setting secondlock:{brief(key)}{hint}", mend)]
    if key == SEED_KEY:
        return []
    try:
        _adapter(_KEYS[key]).validate_python(value, strict=True)
    except Invalid as error:
        (fault,) = error.errors(include_url=False, include_input=False)
        secret = "--secret " if key in SECRET_KEYS else ""
        mend = f"pulumi config set {secret}secondlock:{key} VALUE --stack {stack}"
        return [Problem(None, None, f"secondlock:{key}: {fault['msg']}", mend)]
    return []


@functools.cache
def _adapter(name: str) -> TypeAdapter[Any]:
    field = next(
        model.model_fields[name] for model in MODELS.values() if name in model.model_fields
    )
    annotated: Any = Annotated.__class_getitem__((field.annotation, *field.metadata))  # type: ignore[attr-defined]
    return TypeAdapter(annotated)


def _stack_problems(stack: str) -> list[Problem]:
    if re.fullmatch(STACK_PATTERN, stack):
        return []
    what = f"'{brief(stack)}' cannot be a stack's name here: a-z, 0-9, _ and -, at most 63"
    return [Problem(None, None, what, f"pulumi stack rename NAME --stack {shell_word(stack)}")]


def _target_problems(stack: str, values: Mapping[str, str]) -> Iterator[Problem]:
    """Settings that the stack's target needs and has not, or has and knows nothing of."""
    target = values.get("target", "local")
    if target not in MODELS:
        return
    fields, known = MODELS[target].model_fields, _keys(MODELS[target])
    for key, name in known.items():
        if fields[name].is_required() and key not in values:
            extra = fields[name].json_schema_extra
            usual = f"pulumi config set secondlock:{key} VALUE"
            command = extra.get("set_by", usual) if isinstance(extra, dict) else usual
            what = f"secondlock:{key} is not set; the target {target} needs it"
            yield Problem(None, None, what, f"{command} --stack {stack}")
    for key in values:
        if key in _KEYS and key not in known:
            what = f"secondlock:{key} says nothing on the target {target}"
            mend = f"pulumi config rm secondlock:{key} --stack {stack}"
            yield Problem(None, None, what, mend)
