"""A small evaluator of IAM policies, as "Policy evaluation logic" (IAM User Guide) describes it.

It knows what this project's policies use and refuses everything else, so that no element that it
does not understand can pass for one that grants nothing or denies nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]

_STATEMENT = {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_WILDCARDS = {"*": ".*", "?": "."}


class UnknownElementError(Exception):
    """A policy has what this evaluator does not know."""


@dataclass(frozen=True)
class Request:
    """One call as AWS sees it. `context` has the condition keys that the service sets."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)
    principal: tuple[str, str] = ("AWS", "")
    """A kind, AWS or Service, and an ARN or a name: for policies of resources."""


def allows(policies: Sequence[Document], request: Request) -> bool:
    """What the policies of a caller say together: an explicit deny wins, silence denies."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _statements(policy, identity=True)
        if _matches(statement, request)
    }
    return "Allow" in effects and "Deny" not in effects


def resource_allows(policy: Document, callers: Sequence[Document], request: Request) -> bool:
    """What the policy of a resource says. A grant to the account's root hands the question to
    the policies of the caller, who is one of that account."""
    applying = [
        statement
        for statement in _statements(policy, identity=False)
        if _is_meant(statement["Principal"], request.principal) and _matches(statement, request)
    ]
    if any(statement["Effect"] == "Deny" for statement in applying):
        return False
    for statement in applying:
        if not str(statement["Principal"].get("AWS", "")).endswith(":root"):
            return True
        if allows(callers, request):
            return True
    return False


def leaving_the_rest(policy: Document, account_root: str) -> Document:
    """The policy of a bucket or a topic, which within its account leaves what it does not say to
    the caller's own (IAM User Guide, "Policy evaluation for requests within a single account");
    a key's and a role's do not."""
    rest = {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {"AWS": account_root}}
    return {**policy, "Statement": [*policy["Statement"], rest]}


def _statements(policy: Document, *, identity: bool) -> list[Document]:
    if set(policy) != {"Version", "Statement"} or policy["Version"] != "2012-10-17":
        raise UnknownElementError(f"policy of {sorted(policy)}")
    for statement in policy["Statement"]:
        if unknown := set(statement) - _STATEMENT:
            raise UnknownElementError(f"statement with {sorted(unknown)}")
        if statement["Effect"] not in {"Allow", "Deny"}:
            raise UnknownElementError(statement["Effect"])
        if ("Principal" in statement) is identity:
            raise UnknownElementError("a principal belongs to a resource's policy, and only there")
    found: list[Document] = policy["Statement"]
    return found


def _matches(statement: Document, request: Request) -> bool:
    actions = _list(statement["Action"])
    if not any(_like(action.lower(), request.action.lower()) for action in actions):
        return False
    resources = _list(statement.get("Resource", "*"))
    if not any(_arn_like(resource, request.resource, request) for resource in resources):
        return False
    return all(
        _holds(operator, key, _list(values), request)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def _is_meant(principal: Mapping[str, Any], caller: tuple[str, str]) -> bool:
    kind, name = caller
    for wanted in _list(principal.get(kind, [])):
        account = wanted.removesuffix(":root").replace(":iam:", ":*:") + ":*"
        if wanted in {"*", name} or (wanted.endswith(":root") and _like(account, name)):
            return True
    return False


def _holds(operator: str, key: str, wanted: list[str], request: Request) -> bool:
    """One condition. A key that is not there fulfils none but those `IfExists`."""
    base = operator.removesuffix("IfExists")
    context = {name.lower(): value for name, value in request.context.items()}
    actual = context.get(key.lower())
    if base not in {"StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool"}:
        raise UnknownElementError(operator)
    if actual is None:
        return operator != base
    for value in wanted:
        if base.startswith("Arn"):
            found = _arn_like(value, actual, request)
        elif base == "StringLike":
            found = _pattern(value, request, wild=True, actual=actual)
        elif base == "StringEquals":
            found = _pattern(value, request, wild=False, actual=actual)
        else:
            found = value.lower() == actual.lower()
        if found:
            return True
    return False


def _pattern(value: str, request: Request, *, wild: bool, actual: str) -> bool:
    """Whether `actual` fits `value`, whose variables stand for text without wildcards.

    A variable that the request does not have fits nothing.
    """
    expression, place = "", 0
    for match in _VARIABLE.finditer(value):
        known = {name.lower(): text for name, text in request.context.items()}.get(match[1].lower())
        if known is None:
            return False
        expression += _expression(value[place : match.start()], wild) + re.escape(known)
        place = match.end()
    expression += _expression(value[place:], wild)
    return re.fullmatch(expression, actual, re.DOTALL) is not None


def _expression(text: str, wild: bool) -> str:
    if not wild:
        return re.escape(text)
    return "".join(_WILDCARDS.get(letter) or re.escape(letter) for letter in text)


def _arn_like(value: str, actual: str, request: Request) -> bool:
    """Part by part: no wildcard reaches over one of the first five colons."""
    if value == "*":
        return True
    # A variable's name has colons of its own.
    names = [match[0] for match in _VARIABLE.finditer(value)]
    parts = _VARIABLE.sub("\0", value).split(":", 5)
    given = actual.split(":", 5)
    if len(parts) != len(given):
        return False
    for part, text in zip(parts, given, strict=True):
        whole = part
        while "\0" in whole:
            whole = whole.replace("\0", names.pop(0), 1)
        if not _pattern(whole, request, wild=True, actual=text):
            return False
    return True


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(_expression(pattern, wild=True), text, re.DOTALL) is not None


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
