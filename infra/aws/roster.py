"""Rosters on their way to the machines: an encrypted SSM parameter each, or several."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from cloudinit.bundle import bundle
from infra.aws.policies import roster_name
from infra.aws.tags import BUNDLE_TAG
from infra.model.problems import Problem
from infra.roster import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infra.aws.facts import Facts
    from infra.aws.keys import Keys
    from infra.plan import MachinePlan

STANDARD, ADVANCED = 4096, 8192
"""What a parameter of either tier holds, bytes (Systems Manager User Guide, "Parameter tiers")."""

MOST_PARTS = 64
"""Of one roster; a machine takes no more (cloudinit/guest/aws/ssm.py)."""

MOST = MOST_PARTS * STANDARD
"""Bytes of a roster."""

_LONGEST_ID = "vol-" + "0" * 17


class Rosters(pulumi.ComponentResource):
    """A SecureString for each machine; its `version` is the serial that the machine goes by.

    One that is too long for a parameter is in parts, which the machine's own parameter names. A
    part is called by what is in it: while a roster is changed, a machine finds all of the old one
    or all of the new.

    A roster names its machine's data volume. So where a lost volume was made anew it is not the
    first version any more, and the machine takes what it knows nothing of for lost, not for new
    (guest/aws/ssm.py).
    """

    def __init__(
        self,
        stack: str,
        machines: Sequence[MachinePlan],
        key: Keys,
        facts: Facts,
        tags_of: Callable[[MachinePlan], Mapping[str, str]],
        volume_of: Callable[[str], pulumi.Output[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Rosters", stack, None, opts)
        say = pulumi.ResourceHookOptions(on_dry_run=True)
        upgrades = pulumi.ResourceHook("upgrades", _tell_if_upgraded, say)

        def parameter(
            machine: MachinePlan, part: str, value: pulumi.Output[str], size: int, *first: Any
        ) -> aws.ssm.Parameter:
            runs = {} if part else {BUNDLE_TAG: bundle("aws").digest}
            return aws.ssm.Parameter(
                f"{machine.name}{part}",
                name=f"{roster_name(stack, machine.name)}{part}",
                description=f"Who may enter {machine.name}",
                type="SecureString",
                key_id=key.arn,
                tier="Standard" if size <= STANDARD else "Advanced",
                value=_secret(value),
                # One that a crashed `up` made is taken over.
                overwrite=True,
                region=facts.region,
                tags={**tags_of(machine), **runs},
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=first,
                    additional_secret_outputs=["value"],
                    # The tier cannot be lowered in place, and the name is taken until then.
                    delete_before_replace=True,
                    hooks=pulumi.ResourceHookBinding(before_update=[upgrades]),
                ),
            )

        self._parameters = {}
        for machine in machines:
            pieces = _pieces(machine)
            parts = [
                parameter(machine, f"/{name}", pulumi.Output.from_input(text), len(text))
                for name, text in dict(pieces).items()
            ]
            names = [name for name, _ in pieces]
            head = _head(machine.roster, names) if pieces else machine.roster
            value = volume_of(machine.name).apply(partial(_on_volume, head))
            size = len(_on_volume(head, _LONGEST_ID))
            self._parameters[machine.name] = parameter(machine, "", value, size, *parts)
        self.register_outputs({})

    def parameter(self, machine: str) -> aws.ssm.Parameter:
        """The machine's parameter."""
        return self._parameters[machine]


def naming_bundle(machines: Sequence[MachinePlan], back: bool) -> list[MachinePlan]:
    """The machines, their rosters with the bundle that they are to go on to.

    `back` allows one that a machine has gone on from before (cloudinit/guest/upgrade/change.py).
    """
    named = {"bundle": bundle("aws").digest, **({"older_bundle": True} if back else {})}
    return [
        replace(machine, roster=to_json({**json.loads(machine.roster), **named}))
        for machine in machines
    ]


def roster_problems(machines: Sequence[MachinePlan]) -> list[Problem]:
    """Rosters that no parameter holds."""
    return [
        Problem(
            None,
            None,
            f"the roster of {machine.name} has {_size(machine)} bytes, and SSM holds {MOST}",
            "take keys or networks out of the requests of those who share it: "
            + ", ".join(machine.members),
        )
        for machine in machines
        if _size(machine) > MOST
    ]


def _tell_if_upgraded(args: pulumi.ResourceHookArgs) -> None:
    """What a plan does to a machine that lives on."""
    was, shall_be = (
        ((each or {}).get("tags") or {}).get(BUNDLE_TAG)
        for each in (args.old_inputs, args.new_inputs)
    )
    if was != shall_be:
        pulumi.log.info(
            f"{args.name}: what runs there will be brought up to this Secondlock; sessions and "
            "workspaces go on"
        )


def _pieces(machine: MachinePlan) -> list[tuple[str, str]]:
    """The parts of a roster that no parameter holds, by their names, in their order; else none."""
    if _size(machine) <= ADVANCED:
        return []
    text = machine.roster
    pieces = (text[start : start + STANDARD] for start in range(0, len(text), STANDARD))
    return [(_mark(piece)[:16], piece) for piece in pieces]


def _head(roster: str, names: Sequence[str]) -> str:
    """What the machine's parameter says of a roster in parts."""
    return to_json({"parts": names, "sha256": _mark(roster)})


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _secret(value: pulumi.Output[str]) -> pulumi.Output[str]:
    secret: pulumi.Output[str] = pulumi.Output.secret(value)
    return secret


def _on_volume(roster: str, volume: str) -> str:
    return to_json({**json.loads(roster), "volume": volume})


def _size(machine: MachinePlan) -> int:
    return len(_on_volume(machine.roster, _LONGEST_ID).encode())
