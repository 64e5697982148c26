"""Models out of files: what Pydantic finds wrong, in a person's words and on its line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from infra.model.fields import MAKE_ENROLLMENT, OWN, SHARED
from infra.model.problems import Problem
from infra.model.text import brief
from infra.model.yaml_lines import Document, Location, dotted

_EXPLAINED = 100  # faults of a file; so many are never told

_M = TypeVar("_M", bound=BaseModel)


def validate(model: type[_M], document: Document) -> _M | None:
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
                document.add(_place(details["loc"]), "is wrong too")
        return None


def sound_fields(model: type[BaseModel], document: Document) -> dict[str, Any]:
    """The fields in which `validate` finds nothing wrong; of one that has fields, those of it."""
    try:
        model.model_validate(document.data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return _without(document.data, [_place(one["loc"]) for one in faults])
    return document.data


def _without(fields: Mapping[str, Any], faulty: Collection[Location]) -> dict[str, Any]:
    found = {}
    for name, value in fields.items():
        within = [place[1:] for place in faulty if place[0] == name]
        if not within:
            found[name] = value
        elif isinstance(value, dict) and () not in within:
            found[name] = _without(value, within)
    return found


def _explain(details: ErrorDetails, document: Document, model: type[BaseModel]) -> None:
    """Add a Pydantic error to the document's problems, in a person's words."""
    location = _place(details["loc"])
    name = dotted(location)
    kind = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    written = document.written.get(location)
    if kind == "refused":
        problem: Problem = context["problem"]
        document.add(location, f"{name}: {problem.what}", problem.mend)
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
    "enrollment": f"add `enrollment:`; {MAKE_ENROLLMENT}",
    "retired": "add `retired: []`",
    "seats": "add `seats: NUMBER`, for how many people it is",
}

_EXPECTED = {
    "string_type": "expected text; put it in quotes",
    "int_type": "expected a whole number, without quotes",
    "float_type": "expected a number, without quotes",
    "bool_type": "expected true or false, without quotes",
    "tuple_type": "expected a list: one `- ...` line for each",
    "dict_type": "expected a `NAME: ...` line for each",
    "model_type": "expected fields, such as `cpus: 2`, or a shared machine's name",
    "literal_error": "expected {expected}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}


def _place(location: Location) -> Location:
    """Without what nobody wrote: Pydantic's name for the branch of a union, and that for a field's
    name instead of its value. Each has one place: a field of a person's own may be called so."""
    if location[-1:] == ("[key]",) and location[:1] in (("authenticators",), ("members",)):
        return location[:-1]
    if location[:1] == ("machine",) and location[1:2] in ((OWN,), (SHARED,)):
        return (location[0], *location[2:])
    return location


def _did_you_mean(location: Location, model: type[BaseModel]) -> str:
    """The field that was probably meant, else all that there are at that place."""
    fields = _owner(location, model).model_fields
    near = difflib.get_close_matches(str(location[-1])[:40], fields, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"there are: {', '.join(fields)}"


def _owner(location: Location, model: type[BaseModel]) -> type[BaseModel]:
    """The model that has, or has not, the field at `location`."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        model = (field and _nested(field.annotation)) or model
    return model


def _nested(annotation: object) -> type[BaseModel] | None:
    """The model in an annotation such as `tuple[Entry, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_nested, get_args(annotation))), None)
