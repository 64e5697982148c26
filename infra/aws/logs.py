"""What the machines say, kept; and who is told when something is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pulumi
import pulumi_aws as aws

from cloudinit.guest.alerts.faults import CLOCK, FULL, ROOM
from infra.aws.policies import audit_log_group_name, log_group_name, topic_name, topic_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.aws.facts import Facts
    from infra.aws.keys import Keys
    from infra.plan import MachinePlan

_PERIOD = 300  # seconds
_LINES = 13.5
"""Status lines that a machine writes in 15 minutes at the least: one in 60 to 66 seconds."""


class _Watch(NamedTuple):
    """An alarm on how many status lines a pattern finds (CloudWatch Logs, "Filter patterns")."""

    name: str
    pattern: str
    lines: int
    """In five minutes."""
    periods: int
    """In a row, of five minutes."""
    what: str


# The lines are those of cloudinit/guest/status/line.py. The names of researchers are keys there,
# which JSON patterns cannot pass over: hence the expression, for `"frozen": true` in any spelling.
# It could also match a made-up user name in an authentication line: a false alarm, never a missed
# one.
_WATCHES = (
    _Watch(
        "brute-force",
        '{ $.bans[0] = "*" }',
        1,
        1,
        "An address was banned for guessing: secondlock status names it.",
    ),
    _Watch(
        "frozen",
        "%frozen.{2,3}true%",
        1,
        1,
        "A researcher is frozen after 30 wrong codes in a day: someone else may hold the key. "
        "secondlock status names them.",
    ),
    _Watch(
        "error",
        '{ $.error = "*" }',
        3,
        1,
        "A machine refuses its roster, or has a disk that is full. secondlock status names it.",
    ),
    _Watch(
        "disk",
        f"{{ {' || '.join(f'($.disks.{name} >= {FULL})' for name in ROOM)} }}",
        3,
        2,
        "A disk of a machine is full to nine tenths. secondlock status names it.",
    ),
    _Watch(
        "audit",
        "{ $.audit.lost > 0 }",
        1,
        1,
        "Records of who did what were lost. secondlock status names the machine.",
    ),
    _Watch(
        "record",
        '{ $.audit.error = "*" }',
        3,
        1,
        "A machine does not record who did what. secondlock status says why.",
    ),
    # One line or two are a machine that starts.
    _Watch(
        "clock",
        "{ ($.clock.synchronised IS FALSE) || "
        f"($.clock.offset_seconds > {CLOCK:g}) || ($.clock.offset_seconds < -{CLOCK:g}) }}",
        3,
        2,
        "A machine's clock is off, or has no source: one-time codes will be refused. "
        "secondlock status names it.",
    ),
)


class AuditLog(pulumi.ComponentResource):
    """The log group of who did what. With `keep` it outlives the stack, until retention has emptied
    it: then it is encrypted with CloudWatch's own key, since the stack's is gone a week after it.
    """

    def __init__(
        self,
        stack: str,
        retention_days: int,
        keep: bool,
        *,
        key: Keys,
        tags: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:AuditLog", stack, None, opts)
        aws.cloudwatch.LogGroup(
            "audit",
            name=audit_log_group_name(stack),
            kms_key_id=None if keep else key.arn,
            retention_in_days=retention_days,
            tags=dict(tags),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=keep),
        )
        self.register_outputs({})


class Logs(pulumi.ComponentResource):
    """The log group of all machines and, if wanted, alarms by e-mail. `name` is the group's.

    The number of resources does not depend on the number of machines.
    """

    def __init__(
        self,
        stack: str,
        retention_days: int,
        alarms: bool,
        alert_email: str,
        *,
        machines: Sequence[MachinePlan],
        key: Keys,
        facts: Facts,
        tags: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Logs", stack, None, opts)
        self._stack, self._facts, self._tags = stack, facts, dict(tags)
        self._inside = pulumi.ResourceOptions(parent=self)
        group = aws.cloudwatch.LogGroup(
            stack,
            name=log_group_name(stack),
            kms_key_id=key.arn,
            retention_in_days=retention_days,
            tags=self._tags,
            opts=self._inside,
        )
        self.name = group.name
        if alarms:
            topic = self._topic(key, alert_email)
            for watch in _WATCHES:
                self._filter(watch.name, watch.pattern)
                self._alarm(
                    watch.name,
                    topic,
                    watch.what,
                    "GreaterThanOrEqualToThreshold",
                    watch.lines,
                    watch.periods,
                )
            if machines:
                self._watch_for_silence(topic, len(machines))
        self.register_outputs({})

    def _watch_for_silence(self, topic: pulumi.Output[str], machines: int) -> None:
        """All lines are counted together: of a dozen machines it sees one that is silent, of a
        hundred some ten. A machine that was stopped on purpose is silent too."""
        self._filter("status", '{ $.machine = "*" }')
        self._alarm(
            "status",
            topic,
            "Fewer status lines than machines write: one is down, stopped, or cannot reach "
            "CloudWatch. secondlock status names it.",
            "LessThanThreshold",
            _LINES * machines,
            2,
            period=900,
            missing="breaching",
        )

    def _topic(self, key: Keys, alert_email: str) -> pulumi.Output[str]:
        topic = aws.sns.Topic(
            self._stack,
            name=topic_name(self._stack),
            kms_master_key_id=key.key_id,
            policy=json.dumps(topic_policy(self._facts, self._stack)),
            tags=self._tags,
            opts=self._inside,
        )
        if alert_email:
            aws.sns.TopicSubscription(
                self._stack,
                topic=topic.arn,
                protocol="email",
                endpoint=alert_email,
                opts=self._inside,
            )
        return topic.arn

    def _filter(self, name: str, pattern: str) -> None:
        aws.cloudwatch.LogMetricFilter(
            name,
            log_group_name=self.name,
            pattern=pattern,
            metric_transformation={
                "name": name,
                "namespace": f"Secondlock/{self._stack}",
                "value": "1",
                "default_value": "0",
            },
            opts=self._inside,
        )

    def _alarm(
        self,
        name: str,
        topic: pulumi.Output[str],
        what: str,
        comparison: str,
        threshold: float,
        periods: int,
        *,
        period: int = _PERIOD,
        missing: str = "notBreaching",
    ) -> None:
        aws.cloudwatch.MetricAlarm(
            name,
            name=f"secondlock-{self._stack}-{name}",
            alarm_description=what,
            namespace=f"Secondlock/{self._stack}",
            metric_name=name,
            statistic="Sum",
            period=period,
            evaluation_periods=periods,
            comparison_operator=comparison,
            threshold=threshold,
            treat_missing_data=missing,
            alarm_actions=[topic],
            ok_actions=[topic],
            tags=self._tags,
            opts=self._inside,
        )
