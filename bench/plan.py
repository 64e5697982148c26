"""Preview: time and memory for many requests, against a bare program with as many resources.

For machines of one person each, and for machines that twenty share.
"""

from __future__ import annotations

import os
import resource
import secrets
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.table import Row
from tests.support.project import Project

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTS = {1: 5, 100: 3, 1000: 1}
"""Requests, and how often their preview is measured: short ones are soon disturbed."""

GOAL = 1.2

SHARED, SEATS, SHARED_GOAL = 50, 20, 1.1
"""Machines that many share, people on each, and the goal."""

# In a module of its own, so that it is pickled by reference: Pulumi's SDK 3.272.0 nests a wrapper
# at each dynamic resource and fails at about the thousandth that is pickled by value.
PROVIDER = """\
from pulumi import dynamic

class Provider(dynamic.ResourceProvider):
    serialize_as_secret_always = False

class Thing(dynamic.Resource, module="bare", name="Thing"):
    pass
"""

# The same tree of resources with the same kind of inputs, and nothing that is Secondlock's.
BARE = """\
import pulumi
from things import Provider, Thing

class Group(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("bare:index:Group", name)
        inside = pulumi.ResourceOptions(parent=self, depends_on=[host])
        data = Thing(Provider(), name + "-data", {"directory": "x" * 80, "size": 20}, inside)
        inside = pulumi.ResourceOptions(
            parent=self, depends_on=[host], additional_secret_outputs=["roster"]
        )
        Thing(Provider(), name, {
            "data": data.id, "set_up": "x" * 200, "directory": "x" * 80,
            "roster": pulumi.Output.secret("x" * 1500 * SEATS),
            "cpus": 2, "memory": 4, "port": None,
        }, inside)

host = Thing(Provider(), "host", {"directory": "x" * 80})
for number in range(COUNT):
    Group(f"r{number}")
pulumi.export("enrollments", pulumi.Output.secret({
    f"r{number}": {"uri": "x" * 150, "codes": ["12345678"] * 5} for number in range(COUNT * SEATS)
}))
"""


def measure(counts: Mapping[int, int] = COUNTS) -> list[Row]:
    """Time and memory rows for each count, and one that says whether time grows in line."""
    rows, seconds = [], {}
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        for count, times in counts.items():
            lab = _lab(Path(folder) / f"lab{count}", count)
            bare_program = _bare(Path(folder) / f"bare{count}", count)
            ours, bare = _medians(lab, bare_program, times)
            seconds[count] = ours[0]
            rows.append(_row(f"preview of {count}, seconds", ours[0], bare[0], "{:.1f}"))
            rows.append(_row(f"preview of {count}, MiB at most", ours[1], bare[1], "{:.0f}"))
        ours, bare = _medians(
            _shared_lab(Path(folder) / "shared"), _bare(Path(folder) / "apart", SHARED, SEATS), 3
        )
    what = f"preview of {SHARED} machines that {SEATS} people share each, seconds"
    rows.append(_row(what, ours[0], bare[0], "{:.1f}", SHARED_GOAL))
    few, many = sorted(counts)[-2:]
    slope = (seconds[many] / seconds[few]) / (many / few)
    growth = Row(
        f"growth from {few} to {many}, by the number of requests",
        f"{seconds[many] / seconds[few]:.1f}",
        f"{many / few:.0f}",
        slope,
        1.0,
    )
    return [*rows, growth]


def _row(what: str, ours: float, bare: float, form: str, goal: float = GOAL) -> Row:
    return Row(what, form.format(ours), f"{form.format(bare)} (bare program)", ours / bare, goal)


def _lab(place: Path, count: int) -> Project:
    project = Project(place)
    for number in range(count):
        _request(project, number)
    return project


def _shared_lab(place: Path) -> Project:
    project = Project(place)
    (project.requests / "machines").mkdir()
    for machine in range(SHARED):
        file = project.requests / "machines" / f"m{machine}.yaml"
        file.write_text(f"seats: {SEATS}\ncpus: 2\nmemory_gib: 16\nhome_disk_gib: 40\n")
        for number in range(SEATS):
            _request(project, machine * SEATS + number, machine=f"m{machine}")
    return project


def _request(project: Project, number: int, **values: str | list[str]) -> None:
    request = {
        "researcher": f"r{number}",
        "ssh_keys": [_public_key()],
        "allowed_from": ["127.0.0.0/8"],
        "enrollment": secrets.token_hex(16),
        **values,
    }
    (project.requests / f"r{number}.yaml").write_text(yaml.safe_dump(request))


def _public_key() -> str:
    """A key of its own for each request, quicker than by ssh-keygen(1)."""
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _bare(place: Path, count: int, seats: int = 1) -> Project:
    project = Project(place)
    (project.place / "things.py").write_text(PROVIDER)
    (project.place / "__main__.py").unlink()
    (project.place / "__main__.py").write_text(
        BARE.replace("COUNT", str(count)).replace("SEATS", str(seats))
    )
    return project


def _medians(ours: Project, bare: Project, times: int) -> list[list[float]]:
    """For each of the two the medians of what `_preview` gives, measured in turns."""
    for project in (ours, bare):
        # Both with their compiled modules in place, as everywhere from the second preview on.
        project.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if times > 1:
            _preview(project)
    runs = [(_preview(ours), _preview(bare)) for _ in range(times)]
    return [
        [statistics.median(values) for values in zip(*one, strict=True)]
        for one in zip(*runs, strict=True)
    ]


def _preview(project: Project) -> tuple[float, float]:
    """Seconds, and the largest process's memory in MiB (getrusage(2), ru_maxrss)."""
    reader, writer = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        # A process of its own: the figure for children never goes down in this one.
        code, out = project.run("preview")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        os.write(writer, f"{code} {peak} {out[-2000:] if code else ''}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        status, most, said = answer.read().split(" ", 2)
    os.waitpid(child, 0)
    if status != "0":
        raise RuntimeError(f"the preview failed: {said}")
    return time.monotonic() - started, float(most)
