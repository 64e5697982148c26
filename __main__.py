"""Secondlock as a Pulumi program: `pulumi up --stack demo`."""

import pulumi

from infra.lab import make_lab

lab = make_lab()

pulumi.export("machines", lab.machines)
pulumi.export("enrollments", lab.enrollments)
