"""Pulumi's mocks: the program without an engine, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pulumi
from pulumi.runtime.mocks import MockMonitor

if TYPE_CHECKING:
    from infra.aws.facts import Facts

STACK = "trial"
_Made = TypeVar("_Made")
# How ARNs end, where somebody looks.
_ARNS = {
    "Key": "key/{}",
    "Component": "component/{}/1.0.0/1",
    "ImageRecipe": "image-recipe/{}/1.0.0",
    "InfrastructureConfiguration": "infrastructure-configuration/{}",
    "DistributionConfiguration": "distribution-configuration/{}",
    "Image": "image/{}/1.0.0/1",
}
# What a resource has besides its inputs, each where it has such a thing.
_OUTPUTS = {
    "keyId": "0a1b",
    "version": 7,
    "instanceState": "running",
    "publicIp": "203.0.113.5",
    "outputResources": [{"amis": [{"image": "ami-baked"}]}],
    "now": {"port": 22022, "serial": 1, "running": True},
}


class Engine(pulumi.runtime.Mocks):
    """Remembers what was registered; whatever is asked for is made and runs.

    `facts` are AWS's, where the program may ask for them. `ids` are of resources of a kind, instead
    of ids with their name in them; `found`, by kind and name, is what AWS knows better than the
    program.
    """

    def __init__(
        self,
        facts: Facts | None = None,
        *,
        ids: Mapping[str, str] | None = None,
        found: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
    ) -> None:
        self.made: dict[tuple[str, str], dict[str, Any]] = {}
        self.monitor = MockMonitor(self)
        self._facts, self._ids, self._found = facts, ids or {}, found or {}

    def install(self) -> Engine:
        """In the place of the engine, for what is made from now on."""
        pulumi.runtime.set_mocks(self, project="secondlock", stack=STACK, monitor=self.monitor)
        return self

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The inputs of every resource of a type, by name: `Key`, or `kms/key:Key`."""
        return {name: made for (typ, name), made in self.made.items() if typ.endswith(f":{kind}")}

    def arn(self, typ: str, name: str) -> str:
        """Of a resource."""
        if self._facts is None:
            return ""
        service, kind = typ.split(":")[1].split("/", maxsplit=1)[0], typ.rpartition(":")[2]
        own = _ARNS.get(kind, "{}").format(name)
        place = self._facts
        return f"arn:{place.partition}:{service}:{place.region}:{place.account_id}:{own}"

    def new_resource(
        self, args: pulumi.runtime.MockResourceArgs
    ) -> tuple[str | None, dict[str, Any]]:
        """Called by Pulumi: the resource's id and its outputs."""
        kind = args.typ.rpartition(":")[2]
        self.made[args.typ, args.name] = args.inputs
        outputs = {
            **_OUTPUTS,
            "name": f"{args.name}-1a2b3c4",
            "arn": self.arn(args.typ, args.name),
            **args.inputs,
            **self._found.get((kind, args.name), {}),
        }
        if kind == "Instance":
            outputs["availabilityZone"] = args.inputs["subnetId"].removesuffix("-public-id")
        return self._ids.get(kind, f"{args.name}-id"), outputs

    def call(
        self, args: pulumi.runtime.MockCallArgs
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Called by Pulumi: the answer to a question of the program's."""
        if self._facts is None:
            raise AssertionError(f"the program calls {args.token}")
        facts = self._facts
        answers = {
            "getPartition": {"partition": facts.partition, "dnsSuffix": facts.dns_suffix},
            "getCallerIdentity": {"accountId": facts.account_id},
            "getRegion": {"region": facts.region},
        }
        return answers[args.token.rpartition(":")[2]], []


def settled(make: Callable[[], _Made]) -> _Made:
    """What `make` makes, once everything that it registers is registered."""
    made: list[_Made] = []
    wait: Callable[[Callable[[], None]], Callable[[], None]] = pulumi.runtime.test
    wait(lambda: made.append(make()))()
    return made[0]
