"""All that is wrong with a stack, as far as it is known without its state: the one list of it.

`request`, `doctor` and `up` tell from it. A fault in one place hides none in another.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from infra import given, oidc
from infra.enrollment import pin_fault, seed_fault
from infra.model.folder import Requests, read_folder
from infra.model.person import problem_at
from infra.model.problems import Problem, ProblemsError
from infra.model.settings import (
    OIDC_KEY,
    PREFIX,
    SECRET_KEYS,
    SEED_KEY,
    WEB_KEY,
    WEBHOOK_KEY,
    Settings,
    ours,
    read_settings,
)
from infra.model.shares import share_problems
from infra.plan import Plan, make_plan
from infra.record import needless_words
from infra.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

SEED, WEBHOOK = PREFIX + SEED_KEY, PREFIX + WEBHOOK_KEY
SECRETS = (SEED, *(PREFIX + key for key in SECRET_KEYS))
"""Where the configuration has what it has to keep encrypted."""

_STACKS = Path("stacks")


@dataclass(frozen=True)
class Checked:
    """What people ask of a stack, as far as it is sound, and what is wrong with it."""

    asked: Requests
    settings: Settings
    in_settings: Sequence[Problem]
    """In the stack's configuration, with its seed."""
    in_requests: Sequence[Problem]
    """In what is asked for, with what the stack and its target do not allow."""
    in_plan: Sequence[Problem]
    """In the two together, where there is a plan."""
    plan: Plan | None = field(repr=False)
    """Where neither requests nor settings nor seed have a fault of their own. Secret."""

    @property
    def problems(self) -> list[Problem]:
        """All of them, each once."""
        return list(dict.fromkeys([*self.in_settings, *self.in_requests, *self.in_plan]))


def check_stack(
    stack: str,
    root: Path,
    config: Mapping[str, str],
    *,
    encrypted: Collection[str] | None = None,
    instead: Mapping[Path, str] | None = None,
) -> Checked:
    """What is asked of a stack of the project in `root`, and all that is wrong with it.

    `config` is the whole configuration. `encrypted` are the keys whose values it keeps encrypted;
    None where nobody has decrypted it: then there is no word on secrets, and no plan. `instead` is
    as for `read_folder`.
    """
    values = ours(config)
    settings, in_settings = read_settings(stack, values)
    asked, in_requests = read_folder(root / _STACKS / stack, instead)
    seed = None
    if encrypted is not None:
        seed, found = _seed(settings, values.get(SEED_KEY, ""), is_secret=SEED in encrypted)
        in_settings += found
        for key in SECRET_KEYS:
            if values.get(key) and PREFIX + key not in encrypted:
                in_settings.append(_readable(stack, key))
    in_requests += [*_too_long(asked, settings), *oidc.request_problems(asked.people, settings)]
    in_web = [] if encrypted is None else _web(asked, settings)
    in_settings += in_web
    plan: Plan | None = None
    in_plan: list[Problem] = []
    if settings.knows("target"):
        target = target_of(settings.target)
        in_settings += [*target.check_settings(settings, config), *_needless(asked, settings)]
        in_requests += [*target.check_requests(asked, settings), *_shares(asked, settings)]
        if asked.whole and settings.knows() and seed is not None and not in_web:
            plan = make_plan(settings, asked, seed)
            in_plan = target.check_plan(plan, root)
    return Checked(asked, settings, in_settings, in_requests, in_plan, plan)


def checked_plan(
    stack: str, config: Mapping[str, str], *, encrypted: Collection[str], root: Path = Path()
) -> Plan:
    """The plan of a stack in which nothing is wrong, as `check_stack` looks at it.

    Raises ProblemsError with everything that is.
    """
    checked = check_stack(stack, root, config, encrypted=encrypted)
    if checked.plan is None or checked.problems:
        raise ProblemsError(checked.problems)
    return checked.plan


def _seed(settings: Settings, seed: str, *, is_secret: bool) -> tuple[str | None, list[Problem]]:
    """The seed, if it is good enough to derive from, and all that is wrong with it."""
    stack = settings.stack
    found = [] if is_secret or not seed else [_in_clear(stack)]
    if fault := seed_fault(seed, stack):
        return None, [*found, fault]
    if settings.knows("seed_fingerprint", "new_seed"):
        fault = pin_fault(seed, settings.seed_fingerprint, settings.new_seed, stack)
    return seed, [*found, *([fault] if fault else [])]


def _in_clear(stack: str) -> Problem:
    what = "the enrollment seed stands there in clear: whoever has read it can be anyone"
    anew = f"pulumi config set --secret {SEED} --stack {stack}"
    return Problem(_STACKS / f"Pulumi.{stack}.yaml", None, what, f"openssl rand -hex 32 | {anew}")


_IN_CLEAR = {
    WEBHOOK_KEY: "the webhook stands there in clear: whoever has read it can post as a machine",
    WEB_KEY: "the web's key stands there in clear: whoever has read it can pass for a machine",
    OIDC_KEY: "the provider's secret stands there in clear: whoever has read it can pass for us",
}


def _readable(stack: str, key: str) -> Problem:
    mend = f"make another one, then: pulumi config set --secret {PREFIX}{key} --stack {stack}"
    return Problem(_STACKS / f"Pulumi.{stack}.yaml", None, _IN_CLEAR[key], mend)


def _web(asked: Requests, settings: Settings) -> list[Problem]:
    """What is wrong with the certificate and the provider that the settings give."""
    now = dt.datetime.now(dt.timezone.utc)
    found = given.setting_problems(settings, now)
    if not found and settings.knows("web_certificate", "web_key", "web_domain"):
        found += given.name_problems(settings, asked.machines, now)
    return [*found, *oidc.setting_problems(settings)]


def _too_long(asked: Requests, settings: Settings) -> Iterator[Problem]:
    """Who asks to be remembered for longer than the stack allows."""
    most = settings.remember_hours
    for person in asked.people if settings.knows("remember_hours") else ():
        if (person.remember_hours or 0) > most:
            what = f"more than the stack's {most}"
            say = f"pulumi config set secondlock:rememberHours {person.remember_hours}"
            mend = f"lower it; or, for the whole stack: {say} --stack {settings.stack}"
            yield problem_at(person, ("remember_hours",), what, mend)


def _shares(asked: Requests, settings: Settings) -> Iterator[Problem]:
    """What members of shared machines shall have, and those have not."""
    for machine in asked.machines:
        if machine.is_sure and settings.knows("instance_type"):
            yield from share_problems(machine, settings.hardware(machine.size), whole=asked.whole)


def _needless(asked: Requests, settings: Settings) -> Iterable[Problem]:
    """Words that would let data go of machines that are asked for."""
    # Most stacks say none, and what knows the place may take a while to load.
    if not settings.delete_data:
        return ()
    names = [machine.name for machine in asked.machines if machine.is_sure]
    return needless_words(settings, names, target_of(settings.target).place(settings))
