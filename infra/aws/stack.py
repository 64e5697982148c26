"""The target `aws`: machines are EC2 instances with a GPU."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pulumi

from infra.aws.access import Access
from infra.aws.bundles import Bundles
from infra.aws.data import Data
from infra.aws.facts import facts
from infra.aws.flows import FlowLogs
from infra.aws.image import Image
from infra.aws.keys import Keys
from infra.aws.logs import AuditLog, Logs
from infra.aws.machine import AwsMachine, Machines, Parts
from infra.aws.network import Network
from infra.aws.roster import Rosters, naming_bundle
from infra.aws.strays import Strays
from infra.aws.tags import machine_tags, stack_tags
from infra.model.settings import AwsSettings

if TYPE_CHECKING:
    from infra.plan import MachinePlan, Plan


class Aws:
    """Makes the machines of a plan in EC2, and all that they share."""

    def __init__(self, plan: Plan) -> None:
        settings, machines = AwsSettings.of(plan.settings), plan.machines
        stack, tags, known = settings.stack, stack_tags(settings), facts()
        tags_of = partial(machine_tags, settings)
        key = Keys(stack, tags, known, keep=settings.on_destroy == "snapshot")
        Logs(
            stack,
            settings.log_retention_days,
            settings.alarms,
            settings.alert_email,
            machines=machines,
            key=key,
            facts=known,
            tags=tags,
        )
        AuditLog(
            stack,
            settings.audit_retention_days,
            settings.audit_outlives_destroy,
            key=key,
            tags=tags,
        )
        access = Access(
            stack,
            machines,
            facts=known,
            key=key,
            tags=tags,
            tags_of=tags_of,
        )
        bundles = Bundles(stack, known, tags)
        network = Network(settings, machines)
        FlowLogs(
            stack,
            settings.log_retention_days,
            vpc_id=network.vpc_id,
            key=key,
            facts=known,
            tags=tags,
        )
        after_network = pulumi.ResourceOptions(depends_on=[network])
        strays = Strays(stack, known.region, network.costs, after_network)
        image = Image(
            stack,
            base_image=settings.base_image,
            tensorflow_image=settings.tensorflow_image,
            bake=settings.bake,
            log_retention_days=settings.log_retention_days,
            facts=known,
            key=key,
            vpc_id=network.vpc_id,
            subnet_id=network.subnet(settings.zones[0], public=True),
            strays=strays,
            tags=tags,
        )
        data = Data(settings, machines, key, strays)
        rosters = Rosters(
            stack,
            naming_bundle(machines, settings.older_bundle),
            key,
            known,
            tags_of,
            data.volume,
            # Who reads there of a bundle finds it.
            pulumi.ResourceOptions(depends_on=[bundles.made]),
        )
        parts = Parts(known, key, network, data, rosters, access, image, bundles, strays)
        self._machines = Machines(settings, machines, parts)
        self.policies = {
            "researcher": access.researcher_policy_arn,
            "admin": access.admin_policy_arn,
        }

    def machine(self, plan: MachinePlan) -> AwsMachine:
        """The machine of `plan`."""
        return self._machines.made[plan.name]
