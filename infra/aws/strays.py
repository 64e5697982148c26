"""Machines that a stack's state does not know: what an `up` that was killed left running."""

from __future__ import annotations

import pulumi
from botocore.exceptions import BotoCoreError, ClientError
from pulumi import dynamic

from infra.aws.client import client_of
from infra.aws.living import Living, living
from infra.provider import Props, ProviderError, QuietProvider, changed


class OneEach:
    """Keeps `up` from making a second machine beside one that the state lost; `check` is a hook."""

    def __init__(self, stack: str, region: str) -> None:
        self._stack, self._region = stack, region
        self._seen: set[str] | None = None

    def check(self, args: pulumi.ResourceHookArgs) -> None:
        """Before an instance is made. The state has none then: an old one has been deleted."""
        try:
            found = self._others(args.name)
        except (BotoCoreError, ClientError) as error:
            raise pulumi.RunError(f"{args.name}: whether it runs already: {error}") from None
        if found:
            told = "; ".join(one.told(self._region) for one in found)
            raise pulumi.RunError(
                f"{args.name}: there is a machine that the state does not know, left by an `up` "
                f"that was cut off. End it, then do the same again: {told}"
            )

    def _others(self, machine: str) -> list[Living]:
        """One look for the whole stack; a second one where there was something to see."""
        ec2 = client_of(_setting, self._region)
        if self._seen is None:
            self._seen = {one.machine for one in living(ec2, self._stack)}
        return living(ec2, self._stack, machine) if machine in self._seen else []


class _StraysProvider(QuietProvider):
    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult(props["stack"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> dynamic.DiffResult:
        replaces = changed(olds, news, ("stack", "region"))
        return dynamic.DiffResult(changes=bool(replaces), replaces=replaces)

    def delete(self, _id: str, props: Props) -> None:
        region = props["region"]
        try:
            left = living(client_of(self.config.get, region), props["stack"])
        except (BotoCoreError, ClientError) as error:
            raise ProviderError(
                f"whether machines are left in {region} cannot be told: {error} "
                "(grant ec2:DescribeInstances, then: pulumi destroy)"
            ) from None
        if left:
            told = "; ".join(one.told(region) for one in left)
            raise ProviderError(
                f"the stack's state is rid of its machines, and these are still there: {told} "
                "(then: pulumi destroy)"
            )


class Strays(dynamic.Resource, module="secondlock", name="Strays"):
    """Goes after the stack's machines and before their network: `destroy` names what is left."""

    def __init__(self, stack: str, region: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(_StraysProvider(), stack, {"stack": stack, "region": region}, opts)


def _setting(key: str) -> str | None:
    namespace, _, name = key.partition(":")
    return pulumi.Config(namespace).get(name)
