"""Secondlock as a Pulumi program: `pulumi up --stack demo`."""

import gc

import pulumi

from infra.lab import make_lab

# What a plan is made of lives until its end: looking for garbage takes a seventh of the time.
gc.disable()

lab = make_lab()

pulumi.export("machines", lab.machines)
pulumi.export("enrollments", lab.enrollments)
if lab.policies:
    pulumi.export("policies", lab.policies)
