"""Who the machines are to AWS, and who may open a session to them."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from infra.aws import policies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infra.aws.facts import Facts
    from infra.aws.keys import Keys
    from infra.plan import MachinePlan


class Access(pulumi.ComponentResource):
    """A role and a profile for each machine, and the policies of the stack's people.

    All roles share one policy, which goes by the machine that a role's tag names: thousands of
    machines cost one policy more, and no grant names another machine's things.
    `researcher_policy_arn` and `admin_policy_arn` are to be attached to people by the account's
    own means; a researcher's principal needs the tag `secondlock:researcher`.
    """

    def __init__(
        self,
        stack: str,
        machines: Sequence[MachinePlan],
        *,
        facts: Facts,
        key: Keys,
        tags: Mapping[str, str],
        tags_of: Callable[[MachinePlan], Mapping[str, str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Access", stack, None, opts)
        self._path, self._tags = policies.iam_path(stack), dict(tags)
        self._inside = pulumi.ResourceOptions(parent=self)
        own = key.arn.apply(partial(policies.machine_policy, facts, stack))
        roles = self._roles(machines, json.dumps(policies.assumed_by_ec2(facts)), tags_of)
        self._profiles = {
            machine.name: aws.iam.InstanceProfile(
                machine.name,
                path=self._path,
                role=roles[machine.name],
                tags=dict(tags_of(machine)),
                opts=self._inside,
            )
            for machine in machines
        }
        policy = self._policy("machines", "What each machine may do", own)
        if roles:
            aws.iam.PolicyAttachment(
                stack, policy_arn=policy.arn, roles=list(roles.values()), opts=self._inside
            )
        self.researcher_policy_arn = self._policy(
            "researcher",
            "SSH over Session Manager, each researcher to their own machine",
            policies.researcher_policy(facts, stack),
        ).arn
        self.admin_policy_arn = self._policy(
            "admin",
            "Break-glass: a root shell on every machine",
            policies.admin_policy(facts, stack),
        ).arn
        self.register_outputs({})

    def profile(self, machine: str) -> pulumi.Output[str]:
        """The name of the machine's instance profile."""
        return self._profiles[machine].name

    def _roles(
        self,
        machines: Sequence[MachinePlan],
        trust: str,
        tags_of: Callable[[MachinePlan], Mapping[str, str]],
    ) -> dict[str, pulumi.Output[str]]:
        """Role names by machine; AWS completes them, IAM's names are one account's."""
        return {
            machine.name: aws.iam.Role(
                machine.name,
                path=self._path,
                description=f"The machine {machine.name}",
                assume_role_policy=trust,
                tags={**tags_of(machine), policies.MACHINE_TAG: machine.name},
                opts=self._inside,
            ).name
            for machine in machines
        }

    def _policy(
        self, name: str, description: str, document: pulumi.Input[dict[str, Any]]
    ) -> aws.iam.Policy:
        return aws.iam.Policy(
            name,
            path=self._path,
            description=description,
            policy=pulumi.Output.from_input(document).apply(json.dumps),
            tags=self._tags,
            opts=self._inside,
        )
