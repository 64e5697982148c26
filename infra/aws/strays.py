"""What costs or keeps data and a stack's state does not know: an `up` that was killed left it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pulumi
from botocore.exceptions import BotoCoreError, ClientError
from pulumi import dynamic

from infra.aws.client import client_of
from infra.aws.command import PROFILE, CommandLine
from infra.aws.inventory import Item, inventory, machines
from infra.model.problems import Problem, ProblemsError
from infra.provider import Props, ProviderError, QuietProvider, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mypy_boto3_ec2 import EC2Client

    Find = Callable[[EC2Client, str, str | None], list[Item]]

TRIES, PAUSE_SECONDS = 3, 2.0
"""EC2 may list for some seconds more what was deleted just now."""


class OneEach:
    """Keeps `up` from making a second one beside one that the state lost; `check` is a hook.

    `find` tells what there is: `machines` or `data_volumes` of the inventory.
    """

    def __init__(self, find: Find, stack: str, region: str) -> None:
        self._find, self._stack, self._region = find, stack, region
        self._seen: set[str] | None = None

    def check(self, args: pulumi.ResourceHookArgs) -> None:
        """Before one is made. The state has none then: an old one has been deleted."""
        try:
            found = self._others(args.name)
        except (BotoCoreError, ClientError) as error:
            raise pulumi.RunError(
                f"{args.name}: what of it is there cannot be told: {error}"
            ) from None
        if found:
            what = f"{args.name}: it is there already, left by an `up` that was cut off"
            left = Problem(None, None, what, "end what is there, then do the same again")
            typed = CommandLine(self._region, _setting(PROFILE))
            told = ProblemsError([left, *(one.problem(typed) for one in found)])
            raise pulumi.RunError(str(told))

    def _others(self, machine: str) -> list[Item]:
        """One look for the whole stack; a second one where there was something to see."""
        ec2 = client_of(_setting, self._region)
        if self._seen is None:
            self._seen = {one.machine for one in self._find(ec2, self._stack, None)}
        return self._find(ec2, self._stack, machine) if machine in self._seen else []


class _StraysProvider(QuietProvider):
    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult(props["stack"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> dynamic.DiffResult:
        replaces = changed(olds, news, ("stack", "region"))
        differs = bool(replaces or changed(olds, news, ("later",)))
        return dynamic.DiffResult(changes=differs, replaces=replaces)

    def update(self, _id: str, _olds: Props, news: Props) -> dynamic.UpdateResult:
        return dynamic.UpdateResult(news)

    def delete(self, _id: str, props: Props) -> None:
        region = props["region"]
        try:
            left = _left(client_of(self.config.get, region), props)
        except (BotoCoreError, ClientError) as error:
            what = f"what is left in {region} cannot be told: {error}"
            mend = "grant ec2:Describe*, then: pulumi destroy"
            raise ProviderError(Problem(None, None, what, mend)) from None
        if left:
            what = "the stack's state is rid of its machines and their data: some is still there"
            typed = CommandLine(region, self.config.get(PROFILE))
            first = Problem(None, None, what, "end what is there, then: pulumi destroy")
            raise ProviderError(first, *(one.problem(typed) for one in left))


def _left(ec2: EC2Client, props: Props) -> list[Item]:
    """What is not gone, and does not go `later`."""
    if "later" not in props:  # of an older release, which had data go whenever it liked
        return machines(ec2, props["stack"])
    left: list[Item] = []
    for number in range(TRIES):
        if number:
            time.sleep(PAUSE_SECONDS)
        left = [one for one in inventory(ec2, props["stack"]) if one.id not in props["later"]]
        if not left:
            break
    return left


class Strays(dynamic.Resource, module="secondlock", name="Strays"):
    """Goes after the stack's machines, data and images: `destroy` names what is left of such.

    It goes before the network: what costs there and is known, `later`, is given by its ids.
    """

    def __init__(
        self,
        stack: str,
        region: str,
        later: Sequence[pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"stack": stack, "region": region, "later": list(later)}
        super().__init__(_StraysProvider(), stack, props, opts)


def _setting(key: str) -> str | None:
    namespace, _, name = key.partition(":")
    return pulumi.Config(namespace).get(name)
