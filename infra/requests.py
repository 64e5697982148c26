"""Requests: who gets which machine, as reviewed YAML files.

`stacks/<stack>/<researcher>.yaml` becomes an `InstanceRequest`. Every error of every file is found
at once, each with its file and line, before anything is made.

`python -m infra.requests` prints the JSON Schema for editors (stacks/request.schema.json).
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from infra.aws.types import INSTANCE_TYPE_PATTERN, check_instance_type
from infra.images import IMAGE_PATTERN, check_image
from infra.names import NAME_PATTERN, check_researcher_name
from infra.networks import check_cidr, is_loopback, is_world_open
from infra.problems import Problem, ProblemsError, RefusedError
from infra.settings import COST_CENTRE_PATTERN, ZONE_PATTERN
from infra.ssh_keys import KEY_TYPES, check_ssh_key, key_blob
from infra.text import brief, shell_line, shell_word
from infra.yaml_lines import Document, Location, read_document

__all__ = [
    "InstanceRequest",
    "MachineSize",
    "RetiredEnrollment",
    "check_aws",
    "check_local",
    "is_world_open",
    "json_schema",
    "load_requests",
    "load_retired",
    "machine_name",
    "problem_at",
    "schema_text",
]

RETIRED_FILE = "retired.yaml"
"""In a stack's folder: the enrollments that never come back."""

DELETE = "delete"
"""The word in it by which a leaver's data goes with the machine."""

MOST_KEYS, MOST_NETWORKS = 50, 250
"""Of one request: a firewall and a roster of thousands would be read by nobody."""

_EXPLAINED = 100  # faults of a file; so many are never told
RETIRED_BYTES = 1024 * 1024
"""Of the list of retired enrollments, which only grows: some nine thousand."""

_DAY = "expected a day, such as 2026-11-22"
_ENROLLMENT_PATTERN = "^[0-9a-f]{32}$"
_KEY_PATTERN = f"^({'|'.join(KEY_TYPES)}) [A-Za-z0-9+/]+=*( .*)?$".replace(".com", "[.]com")
_MAKE_ENROLLMENT = "write 32 hex digits, as `openssl rand -hex 16` prints them"


def _check_enrollment(text: str) -> str:
    if not re.fullmatch(_ENROLLMENT_PATTERN, text):
        raise RefusedError("not 32 lower-case hex digits", _MAKE_ENROLLMENT)
    if len(set(text)) == 1:
        raise RefusedError("one digit 32 times, not a random id", _MAKE_ENROLLMENT)
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
            raise _custom(refused) from None

    return AfterValidator(validate)


def _custom(refused: RefusedError) -> PydanticCustomError:
    return PydanticCustomError(
        "refused", "{what}", {"what": refused.what, "mend": refused.mend or ""}
    )


def _day(value: object) -> object:
    """Only YYYY-MM-DD: a number would be taken for seconds since 1970."""
    if value is None or isinstance(value, dt.date):
        return value
    text = value if isinstance(value, str) else ""
    try:
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return dt.date.fromisoformat(text)
    except ValueError:
        pass
    raise _custom(RefusedError(_DAY))


def _tuple_of_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _pattern(pattern: str) -> Any:
    """For editors, that know only the schema; the real check says more."""
    return Field(json_schema_extra={"pattern": pattern})


_Name = Annotated[str, _checked(check_researcher_name), _pattern(NAME_PATTERN)]
_EnrollmentId = Annotated[str, _checked(_check_enrollment), _pattern(_ENROLLMENT_PATTERN)]
_Image = Annotated[str, _checked(check_image), _pattern(IMAGE_PATTERN)]
_Key = Annotated[str, _pattern(_KEY_PATTERN)]
_Type = Annotated[str, _checked(check_instance_type), _pattern(INSTANCE_TYPE_PATTERN)]
_Zone = Annotated[str, _checked(_check_zone), _pattern(ZONE_PATTERN)]
_CostCentre = Annotated[str, _checked(_check_cost_centre)]
_Day = Annotated[dt.date, BeforeValidator(_day)]


class _Model(BaseModel):
    # Strict: what YAML reads as a number is no name. Inputs hidden: they might be secrets.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class MachineSize(_Model):
    """A dedicated machine's size."""

    cpus: int = Field(default=2, ge=1, le=192, description="Virtual CPUs; target local.")
    memory_gib: int = Field(default=4, ge=1, le=2048, description="Memory in GiB; target local.")
    root_disk_gib: int = Field(
        default=20,
        ge=8,
        le=4096,
        description="System disk in GiB; lost when the machine is replaced.",
    )
    home_disk_gib: int = Field(
        default=20, ge=1, le=16383, description="Home disk in GiB; survives that."
    )
    instance_type: _Type | None = Field(
        default=None,
        description="EC2 instance type; without it, the stack's. Target aws.",
    )
    spot: bool = Field(
        default=False,
        description="Spare capacity: cheaper, stops when EC2 needs it. Target aws.",
    )
    public: bool = Field(
        default=True,
        description="A public address; false: SSH over Session Manager. Target aws.",
    )
    zone: _Zone | None = Field(
        default=None,
        description="Availability zone of a new machine's data. Target aws.",
    )


class InstanceRequest(_Model):
    """One researcher's request for a machine."""

    researcher: _Name = Field(description="User name; the file is called <researcher>.yaml.")
    factors: Literal["key+totp", "password+totp"] = Field(
        default="key+totp", description="What a login takes; the phone's one-time code always."
    )
    ssh_keys: tuple[_Key, ...] = Field(
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
    machine: MachineSize = Field(
        default=MachineSize(), description="Size; every part has a default."
    )
    enrollment: _EnrollmentId = Field(
        description="Id of the phone's enrollment; `secondlock request` and `rotate` write it."
    )
    rebuild: int = Field(
        default=0, ge=0, le=1_000_000, description="Raise it to rebuild the machine."
    )
    tensorflow_image: _Image | None = Field(
        default=None, description="TensorFlow image as name@sha256:digest; without it, the stack's."
    )
    end_sessions: bool = Field(
        default=False, description="End open sessions when the enrollment changes."
    )
    cost_centre: _CostCentre | None = Field(
        default=None, description="Who pays, as a tag; without it, the stack's."
    )
    until: _Day | None = Field(
        default=None, description="Last day that the machine is wanted, as a tag."
    )

    _document: Document | None = PrivateAttr(default=None)

    @field_validator("ssh_keys", mode="before")
    @classmethod
    def _check_keys(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        keys, errors = _check_items(value, check_ssh_key, key_blob, MOST_KEYS)
        if not value and info.data.get("factors") == "key+totp":
            mend = "give the line of the researcher's .pub file"
            errors.append(_error((), RefusedError("no SSH key: nobody could log in", mend)))
        return _all_or_errors(keys, errors)

    @field_validator("allowed_from", mode="before")
    @classmethod
    def _check_networks(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        networks, errors = _check_items(value, check_cidr, str, MOST_NETWORKS)
        if not value:
            mend = "write the networks that logins come from"
            errors.append(_error((), RefusedError("no network: nobody could log in", mend)))
        if is_world_open(networks) and not info.data.get("open_to_world"):
            what = "open to the world: more than a /8 (IPv6: a /16), taken together"
            mend = "name the networks you log in from; if it must be, write open_to_world: true"
            errors.append(_error((), RefusedError(what, mend)))
        return _all_or_errors(networks, errors)


class RetiredEnrollment(_Model):
    """An enrollment that is over: no phone or code of it may ever work again."""

    enrollment: _EnrollmentId
    researcher: str
    reason: Literal["rotated", "revoked"]
    date: _Day
    data: Literal["delete"] | None = None
    """Whether what a revoked researcher has goes with the machine: asked for in so many words."""


class _RetiredFile(_Model):
    retired: Annotated[tuple[RetiredEnrollment, ...], BeforeValidator(_tuple_of_list)]


def load_requests(folder: Path, instead: Mapping[Path, str] | None = None) -> list[InstanceRequest]:
    """The requests in a stack's folder, by researcher.

    `instead` has texts for files of the folder that are not written yet. Raises ProblemsError with
    every problem of every file. No request at all is a problem too, unless retired.yaml shows that
    there were some: the last researcher must be able to go.
    """
    problems: list[Problem] = []
    texts = instead or {}
    files = sorted({*_request_files(folder, problems, may_lack=bool(texts)), *texts})
    documents = [read_document(file, inside=folder, text=texts.get(file)) for file in files]
    for document in documents:
        _join_keys(document)
    loaded = [_validate(InstanceRequest, document) for document in documents]
    retired: list[RetiredEnrollment] = []
    try:
        retired = load_retired(folder)
    except ProblemsError as error:
        problems += error.problems
    # What is not written yet comes last: it is at fault where it has what another has.
    _check_together(sorted(documents, key=lambda one: one.file in texts), retired)
    for document in documents:
        problems += document.problems
    if not documents and not retired and not problems:
        what = "no request in this folder: there is nothing to make"
        mend = f"./secondlock request RESEARCHER --stack {shell_word(folder.name)}"
        problems.append(Problem(folder, None, what, mend))
    if problems:
        raise ProblemsError(sorted(problems, key=lambda one: (str(one.file), one.line or 0)))
    requests = []
    for request, document in zip(loaded, documents, strict=True):
        if request:
            request._document = document
            requests.append(request)
    return requests


def load_retired(folder: Path) -> list[RetiredEnrollment]:
    """What the folder's retired.yaml lists; nothing where there is no such file.

    Raises ProblemsError: a list that cannot be read must not let an old phone back in.
    """
    file = folder / RETIRED_FILE
    if not os.path.lexists(file):
        return []
    document = read_document(file, inside=folder, limit=RETIRED_BYTES)
    loaded = _validate(_RetiredFile, document)
    if loaded is None or document.problems:
        raise ProblemsError(document.problems)
    return list(loaded.retired)


def check_local(requests: Sequence[InstanceRequest]) -> list[Problem]:
    """What the local target cannot hold: its machines see every client at one address."""
    return _foreign(requests, _aws_fields, "says nothing on the target local", "remove it") + [
        problem_at(
            request,
            ("allowed_from", index),
            f"`{cidr}` cannot hold on the local target: the machine listens on 127.0.0.1 only, and "
            "QEMU's user-mode network shows it every client as 10.0.2.2",
            "write 127.0.0.0/8",
        )
        for request in requests
        for index, cidr in enumerate(request.allowed_from)
        if not is_loopback(cidr)
    ]


def check_aws(requests: Sequence[InstanceRequest], zones: Sequence[str]) -> list[Problem]:
    """What the target aws cannot hold, in a stack that lies in `zones`."""
    mend = "remove it; set machine.instance_type if need be"
    found = _foreign(requests, _local_fields, "the instance type says it on the target aws", mend)
    for request in requests:
        zone = request.machine.zone
        if zone is not None and zone not in zones:
            what = f"`{zone}` is none of the stack's zones: {', '.join(zones)}"
            mend = "take one of them, or add it to secondlock:zones"
            found.append(problem_at(request, ("machine", "zone"), what, mend))
        found += _unreachable(request)
    return found


def _unreachable(request: InstanceRequest) -> list[Problem]:
    """Networks that no login to an EC2 machine comes from."""
    found = [
        problem_at(
            request,
            ("allowed_from", index),
            f"`{cidr}` is this computer's own: nobody comes from there to a machine in EC2",
            "write the networks that logins come from",
        )
        for index, cidr in enumerate(request.allowed_from)
        if is_loopback(cidr)
    ]
    if not found and all(":" in cidr for cidr in request.allowed_from):
        what = "no IPv4 network, and the machines have only IPv4 addresses"
        found.append(problem_at(request, ("allowed_from",), what, "add the IPv4 networks"))
    return found


def _aws_fields(machine: MachineSize) -> list[str]:
    """Those of the target aws that ask for something; a default asks for nothing."""
    names = ("instance_type", "spot", "public", "zone")
    fields = MachineSize.model_fields
    return [name for name in names if getattr(machine, name) != fields[name].default]


def _local_fields(machine: MachineSize) -> list[str]:
    """Those of the target local that were written down: their defaults hold on no other."""
    return [name for name in ("cpus", "memory_gib") if name in machine.model_fields_set]


def _foreign(
    requests: Sequence[InstanceRequest],
    fields: Callable[[MachineSize], list[str]],
    what: str,
    mend: str,
) -> list[Problem]:
    """Fields of `machine` that belong to the other target."""
    return [
        problem_at(request, ("machine", name), what, mend)
        for request in requests
        for name in fields(request.machine)
    ]


def machine_name(request: InstanceRequest) -> str:
    """The machine's name: a dedicated one is called after its researcher."""
    return request.researcher


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a request file."""
    with_password = {
        "required": ["factors"],
        "properties": {"factors": {"const": "password+totp"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **InstanceRequest.model_json_schema(),
        "if": with_password,
        "else": {"required": ["ssh_keys"], "properties": {"ssh_keys": {"minItems": 1}}},
    }


def schema_text() -> str:
    """What stacks/request.schema.json holds."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _error(location: Location, refused: RefusedError) -> InitErrorDetails:
    return InitErrorDetails(type=_custom(refused), loc=location, input=None)


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


def _request_files(folder: Path, problems: list[Problem], *, may_lack: bool) -> list[Path]:
    """The request files. Raises ProblemsError when the folder is not there or cannot be read."""
    files = []
    for file in _listed(folder, may_lack=may_lack):
        if file.name.startswith(".") or file.suffix.lower() not in {".yaml", ".yml"}:
            continue
        if file.suffix != ".yaml":
            words = ("mv", "--", str(file), str(file.with_suffix(".yaml")))
            problems.append(Problem(file, None, "is not called *.yaml", shell_line(words)))
        elif file.name != RETIRED_FILE:
            files.append(file)
    return files


def _listed(folder: Path, *, may_lack: bool) -> list[Path]:
    try:
        if folder.resolve().parent != folder.parent.resolve():
            what = "a link to a folder elsewhere, which is not read"
            raise ProblemsError([Problem(folder, None, what, "put the requests here")])
        return sorted(folder.iterdir())
    except FileNotFoundError:
        if may_lack:
            return []
        mend = f"./secondlock request RESEARCHER --stack {shell_word(folder.name)}"
        problem = Problem(folder, None, "there is no such folder", mend)
    except NotADirectoryError:
        mend = "move what is there out of the way"
        problem = Problem(folder, None, "this is not a folder", mend)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or "links in a circle"
        problem = Problem(folder, None, f"cannot be read: {reason}")
    raise ProblemsError([problem])


_M = TypeVar("_M", bound=BaseModel)


def _join_keys(document: Document) -> None:
    """Take `ssh-ed25519 AAAA... work: laptop` as the key that it is: to YAML it is a field."""
    keys = document.data.get("ssh_keys")
    if not isinstance(keys, list):
        return
    for index, key in enumerate(keys):
        written = document.written.get(("ssh_keys", index), "")
        if isinstance(key, dict) and written.startswith(KEY_TYPES):
            keys[index] = written


def _validate(model: type[_M], document: Document) -> _M | None:
    """The document as a model, or None with its problems in the document."""
    if document.problems and not document.data:
        return None
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            if len(document.problems) < _EXPLAINED:
                _explain(details, document, model)
            else:
                document.add(details["loc"], "is wrong too")
        return None


def _explain(details: ErrorDetails, document: Document, model: type[BaseModel]) -> None:
    """Add a Pydantic error to the document's problems, in a person's words."""
    location = details["loc"]
    name = _dotted(location)
    kind = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    written = document.written.get(location)
    if kind == "refused":
        document.add(location, f"{name}: {context['what']}", context["mend"] or None)
    elif kind == "missing":
        document.add(location, f"`{name}` is missing", _MISSING.get(name))
    elif kind == "extra_forbidden":
        document.add(location, f"unknown field `{brief(name)}`", _did_you_mean(location, model))
    elif kind == "string_type" and written:
        read = "a field" if ":" in written else "a number or as true/false"
        what = f"{name}: YAML reads `{brief(written, 40)}` as {read}, not as text"
        document.add(location, what, f'put it in quotes: "{brief(written, 40)}"')
    elif kind == "int_type" and written:
        what = (
            f"{name}: expected a whole number in plain decimal digits, not `{brief(written, 40)}`"
        )
        document.add(location, what)
    else:
        what = _EXPECTED.get(kind, "not what belongs here").format(**context)
        document.add(location, f"{name}: {what}")


_MISSING = {
    "researcher": "add `researcher: NAME`, the file's name without .yaml",
    "allowed_from": "add `allowed_from: [CIDR, ...]`, the networks that logins come from",
    "enrollment": f"add `enrollment:`; {_MAKE_ENROLLMENT}",
    "retired": "add `retired: []`",
}

_EXPECTED = {
    "string_type": "expected text; put it in quotes",
    "int_type": "expected a whole number, without quotes",
    "bool_type": "expected true or false, without quotes",
    "tuple_type": "expected a list: one `- ...` line for each",
    "model_type": "expected fields, such as `cpus: 2`",
    "literal_error": "expected {expected}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}


def _dotted(location: Location) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _did_you_mean(location: Location, model: type[BaseModel]) -> str:
    """The field that was probably meant, else all that there are at that place."""
    inner: dict[str, type[BaseModel]] = {"machine": MachineSize, "retired": RetiredEnrollment}
    owner = inner[str(location[0])] if len(location) > 1 else model
    near = difflib.get_close_matches(str(location[-1])[:40], owner.model_fields, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"there are: {', '.join(owner.model_fields)}"


def problem_at(request: InstanceRequest, location: Location, what: str, mend: str) -> Problem:
    """A problem with a value of a request, with its line when it came from a file."""
    name = _dotted(location)
    if request._document is None:
        return Problem(None, None, f"{request.researcher}: {name}: {what}", mend)
    return request._document.problem(location, f"{name}: {what}", mend)


def _check_together(documents: list[Document], retired: list[RetiredEnrollment]) -> None:
    """What no file shows alone. Files with other errors count: all errors come at once."""
    over = {entry.enrollment: entry for entry in retired}
    first: dict[tuple[str, str], Document] = {}
    for document in documents:
        _check_file_name(document)
        for location, kind, value in _unique_values(document):
            other = first.setdefault((kind, value), document)
            if other is not document:
                where = f"{other.file.name} has the same {kind}"
                document.add(location, f"{_dotted(location)}: {where}", _SAME[kind])
        enrollment = document.data.get("enrollment")
        entry = over.get(enrollment) if isinstance(enrollment, str) else None
        if entry:
            what = f"enrollment: retired on {entry.date} ({entry.researcher}, {entry.reason})"
            words = ("rotate", document.file.stem, "--stack", document.file.parent.name)
            mend = shell_line(["./secondlock", *words])
            document.add(("enrollment",), what, mend)


_SAME = {
    "researcher": "one file for each researcher",
    "enrollment": f"each phone has its own: {_MAKE_ENROLLMENT}",
    "SSH key": "a key is one person's: remove it from one of them",
}


def _unique_values(document: Document) -> Iterator[tuple[Location, str, str]]:
    for name in ("researcher", "enrollment"):
        value = document.data.get(name)
        if isinstance(value, str):
            yield (name,), name, value
    keys = document.data.get("ssh_keys")
    for index, key in enumerate(keys if isinstance(keys, list) else []):
        if isinstance(key, str) and key_blob(key):
            yield ("ssh_keys", index), "SSH key", key_blob(key)


def _check_file_name(document: Document) -> None:
    researcher = document.data.get("researcher")
    if not isinstance(researcher, str) or researcher == document.file.stem:
        return
    what = f"researcher: `{brief(researcher, 40)}` in a file called {document.file.name}"
    document.add(("researcher",), what, "the file's name is the researcher's, then .yaml")


if __name__ == "__main__":
    print(schema_text(), end="")
