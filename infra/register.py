"""The record of a stack's people and data in its state: each plan is held against it.

In a preview and in `up`, before anything else is registered; docs/decisions/0018 says why so.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pulumi

from infra.model.problems import ProblemsError
from infra.record import RECORD, Record, leavers, lost, refusals

if TYPE_CHECKING:
    from infra.plan import Plan

SAID_WHY = 32
"""Pulumi's own exit code of a program that has told the person what is wrong."""

_HOOK = "of people and data"


class Register:
    """The record of a stack, kept in its state.

    Pulumi's `Stash` needs no provider's process, and a hook sees what the state held before.
    """

    def __init__(self, plan: Plan, place: str) -> None:
        self._plan, self._place = plan, place
        self._record = str(Record.of(plan, place))
        hook = pulumi.ResourceHook(_HOOK, self._check, pulumi.ResourceHookOptions(on_dry_run=True))
        self._stash = pulumi.Stash(
            RECORD,
            input=self._record,
            opts=pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(before_update=[hook])),
        )

    async def settled(self) -> None:
        """Wait until the state has taken the record; what is registered later changes nothing.

        Ends the program where `--target` left the register out, and it would have refused.
        """
        held = await self._stash.input.future()
        if held == self._record:
            return
        try:
            self._judge(str(held))
        except ProblemsError as error:
            pulumi.log.error(_told(error))
            sys.exit(SAID_WHY)

    def _check(self, args: pulumi.ResourceHookArgs) -> None:
        held = (args.old_inputs or {})["input"]
        try:
            self._judge(held)
        except ProblemsError as error:
            raise pulumi.RunError(_told(error)) from None

    def _judge(self, held: str) -> None:
        old = Record.parse(held)
        found = refusals(old, self._plan, self._place)
        if found:
            raise ProblemsError(found)
        for machine, place in lost(old, Record.of(self._plan, self._place)):
            pulumi.log.warn(f"the data of {machine} ({place}) goes, as was asked for")
        for line in leavers(old, self._plan):
            pulumi.log.warn(line)


def _told(error: ProblemsError) -> str:
    return f"\nnothing was changed, because the stack's state knows more than this folder:\n{error}"
