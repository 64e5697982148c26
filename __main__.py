"""Secondlock as a Pulumi program: `pulumi up --stack demo`."""

import gc

# What a plan is made of, libraries included, lives until its end: looking for garbage takes a
# seventh of the time.
gc.disable()

import pulumi  # noqa: E402

from infra.lab import make_lab  # noqa: E402

pulumi.run(make_lab)
