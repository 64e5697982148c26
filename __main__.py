"""Secondlock as a Pulumi program: `pulumi up --stack demo`."""

import gc
import os
import signal

# What a plan is made of, libraries included, lives until its end: looking for garbage takes a
# seventh of the time.
gc.disable()
# Whom the engine interrupts has nothing more to say, least of all Python's traceback. By this exit
# code Pulumi adds no line of its own (infra.register.SAID_WHY).
signal.signal(signal.SIGINT, lambda *_: os._exit(32))

import pulumi  # noqa: E402

from infra.lab import make_lab  # noqa: E402

pulumi.run(make_lab)
