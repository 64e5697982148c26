"""What it costs to record who did what: training, programs, logins, with and without, in turns."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.table import Row
from tests.support.machine import Machine

if TYPE_CHECKING:
    from tests.support.client import Session
    from tests.support.people import Person

GOAL = 1.05
ROUNDS, PEOPLE = 6, 3
PATIENCE = 600.0  # seconds; an emulated machine loads TensorFlow for minutes
# Trains for a while each time that it is told to, and says how long that took.
TRAINING = """\
import os, time
import tensorflow as tf
images = tf.random.uniform((512, 28, 28, 1))
labels = tf.random.uniform((512,), maxval=10, dtype=tf.int32)
model = tf.keras.Sequential([
    tf.keras.layers.Conv2D(16, 3, activation="relu"), tf.keras.layers.Flatten(),
    tf.keras.layers.Dense(10)])
model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(images, labels, verbose=0)
for number in range(1000):
    while not os.path.exists(f"/tmp/go{number}"):
        time.sleep(0.05)
    started = time.monotonic()
    model.fit(images, labels, verbose=0, epochs=3)
    with open(f"/tmp/new{number}", "w") as file:
        file.write(str(time.monotonic() - started))
    os.rename(f"/tmp/new{number}", f"/tmp/done{number}")
"""
PROGRAMS = "for i in 1 2 3 4 5 6 7 8; do seq 40 | xargs -n 1 true; done"


def measure() -> list[Row]:
    """A row for each."""
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        machine = Machine(Path(folder))
        try:
            machine.boot()
            machine.enlist("key+totp", PEOPLE)
            machine.apply()
            people = [machine.researcher() for _ in range(PEOPLE)]
            for each in people[1:]:
                machine.client.login(each, "true", timeout=PATIENCE)  # a workspace
            with machine.client.session(people[0]) as session:
                return _rows(machine, session, people)
        finally:
            machine.end()


def _rows(machine: Machine, session: Session, people: list[Person]) -> list[Row]:
    session.run("cat >train.py", stdin=TRAINING.encode())
    session.succeed("rm -f /tmp/go* /tmp/done*; nohup python3 train.py >train.log 2>&1 &")
    taken: dict[tuple[str, bool], list[float]] = {}
    for number in range(2 * ROUNDS):
        recorded = number % 2 == 0
        _record(machine, recorded)
        taken.setdefault(("training", recorded), []).append(_train(session, number))
        taken.setdefault(("programs", recorded), []).append(_programs(session))
        taken.setdefault(("login", recorded), []).append(_login(machine, people, number))
    _record(machine, True)
    what = {
        "training": "training, seconds for three epochs of a small network",
        "programs": "320 short programs, seconds",
        "login": "login with key and code, seconds",
    }
    rows = []
    for name, words in what.items():
        # What disturbs a computer only ever makes it slower.
        ours, bare = (min(taken[name, recorded]) for recorded in (True, False))
        goal = None if name == "programs" else GOAL
        against = f"{bare:.2f} (the same without a record)"
        rows.append(
            Row(f"{words} (the best of {ROUNDS})", f"{ours:.2f}", against, ours / bare, goal)
        )
    return rows


def _record(machine: Machine, on: bool) -> None:
    """Who did what is recorded, or the kernel says nothing of it and nobody asks."""
    what = "start" if on else "stop"
    machine.succeed(f"systemctl {what} secondlock-auditd.service secondlock-audit.service")
    if not on:
        machine.succeed("auditctl -D && auditctl -e 0")
    time.sleep(3)


def _train(session: Session, number: int) -> float:
    session.succeed(f"touch /tmp/go{number}")
    wait = f"until [ -e /tmp/done{number} ]; do sleep 0.5; done; cat /tmp/done{number}"
    return float(session.succeed(wait, timeout=PATIENCE))


def _programs(session: Session) -> float:
    timed = f'python3 -c \'import subprocess as s, time; t = time.monotonic(); s.run("{PROGRAMS}",'
    timed += " shell=True); print(time.monotonic() - t)'"
    return float(session.succeed(timed, timeout=PATIENCE))


def _login(machine: Machine, people: list[Person], number: int) -> float:
    """By an emergency code: one of the app's lasts for half a minute."""
    person, code = people[number % PEOPLE], number // PEOPLE
    started = time.monotonic()
    result = machine.client.login(person, "true", code=person.emergency_codes[code])
    if result.exit != 0:
        raise RuntimeError(f"a login failed: {result.errors}")
    return time.monotonic() - started
