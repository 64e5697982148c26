"""The program in the real engine, as far as it goes without booting a machine."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.rpc import _special_secret_sig, _special_sig_key

from infra.enrollment import fingerprint
from infra.local.machine import _MachineProvider
from infra.plan import Plan
from tests.support.plans import make_plan
from tests.support.project import STACK, leaks, machine_processes

if TYPE_CHECKING:
    from tests.support.project import Project


def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_made(project: Project) -> None:
    project.request("alice", allowed_from=["127.0.0.1/8"])
    project.request("bob", machin={})
    (project.requests / "carol.yaml").write_text("researcher: [\n")
    project.succeed("config", "set", "secondlock:targt", "local")
    code, out = project.run("up", "--yes", "--skip-preview")
    assert code != 0
    for place in ("alice.yaml:", "bob.yaml:", "carol.yaml:", "secondlock:targt"):
        assert place in out
    assert "Traceback" not in out
    assert "exit code" not in out
    assert project.resources() == []
    assert not project.home.exists()


def test_a_seed_in_clear_is_refused(project: Project) -> None:
    project.request("alice")
    project.succeed("config", "set", "--plaintext", "secondlock:enrollmentSeed", project.seed)
    code, out = project.run("preview")
    assert code != 0
    assert "in clear" in out
    assert project.seed not in out


def test_a_preview_needs_no_image_but_up_does(project: Project) -> None:
    project.request("alice")
    out = project.succeed("preview")
    assert "make image" in out
    assert "6 to create" in out
    code, out = project.run("up", "--yes", "--skip-preview")
    assert code != 0
    assert "make image" in out
    assert project.resources() == []
    assert not project.home.exists()


def test_a_machine_that_does_not_start_is_a_sentence_and_destroy_leaves_nothing(
    unbootable: Project,
) -> None:
    project = unbootable
    project.request("alice")
    code, out = project.run("up", "--yes", "--skip-preview")
    assert code != 0
    assert "alice: QEMU did not start" in out
    assert "pulumi up" in out
    assert "Traceback" not in out
    needles = project.secrets()
    assert len(needles) == 9
    assert not any(needle in out for needle in needles)
    assert leaks(project.backend, needles) == []
    project.succeed("destroy", "--yes", "--skip-preview")
    assert project.resources() == []
    assert machine_processes(project) == []
    assert not project.home.exists()


def _as_if_it_ran(project: Project, name: str) -> None:
    """Put a machine into the state that QEMU could not start."""
    roster = _plan(project).machines[0].roster
    exported = json.loads(project.succeed("stack", "export", "--show-secrets"))
    resources = exported["deployment"]["resources"]
    (data,) = (one for one in resources if one["urn"].endswith(f"::{name}-data"))
    inputs = {
        "__provider": serialize_provider(_MachineProvider()),
        "directory": str(project.directory(name).relative_to(project.place)),
        "data": data["id"],
        "made_of": json.dumps({"image": "", "rebuild": 0}),
        "set_up": "{}",
        "host_key": "",
        "roster": {_special_sig_key: _special_secret_sig, "plaintext": json.dumps(roster)},
    }
    kind = "pulumi-python:dynamic/secondlock:Machine"
    machine = {
        **data,
        "urn": data["urn"].replace(f"{data['type']}::{name}-data", f"{kind}::{name}"),
        "type": kind,
        "id": name,
        "inputs": inputs,
        "outputs": {**inputs, "now": {"port": 1, "serial": 1, "running": True}},
    }
    resources.append(machine)
    project.succeed("stack", "import", stdin=json.dumps(exported))


def _plan(project: Project) -> Plan:
    values = {"seedFingerprint": fingerprint(project.seed)}
    return make_plan(STACK, project.requests, values, project.seed)


def test_what_was_sent_to_a_machine_outlives_its_data(unbootable: Project) -> None:
    project, up = unbootable, ("up", "--yes", "--skip-preview")
    enrollment = project.request("alice")["enrollment"]
    project.run(*up)
    data = project.home / "data" / "alice"
    assert not (data / "enrollments").exists()  # the first one's codes are good at once
    _as_if_it_ran(project, "alice")
    shutil.rmtree(project.home)
    project.succeed("refresh", "--yes", "--skip-preview")
    assert re.search(r"Machine +alice +replace", project.succeed("preview"))
    code, out = project.run(*up)
    assert code != 0
    assert "alice: QEMU did not start" in out
    assert (data / "enrollments").read_text().split() == [enrollment]
    # Also where it is tried again.
    project.run(*up)
    assert (data / "enrollments").read_text().split() == [enrollment]


def test_a_home_disk_cannot_shrink(unbootable: Project) -> None:
    project = unbootable
    project.request("alice", machine={"home_disk_gib": 5})
    project.run("up", "--yes", "--skip-preview")
    home = project.home / "data" / "alice" / "home.img"
    assert home.stat().st_size == 5 * 2**30
    project.request("alice", machine={"home_disk_gib": 4})
    code, out = project.run("up", "--yes", "--skip-preview")
    assert code != 0
    assert "cannot shrink" in out
    project.request("alice", machine={"home_disk_gib": 6})
    project.run("up", "--yes", "--skip-preview")
    assert home.stat().st_size == 6 * 2**30


def test_a_reason_is_told_once(project: Project) -> None:
    project.request("alice", allowed_from=["127.0.0.1/8"], rebuild=-1)
    for words in (["preview"], ["up", "--yes", "--skip-preview"]):
        code, out = project.run(*words)
        assert code != 0
        assert out.count("nothing was changed") == 1
        assert out.count("has host bits set") == 1
        assert out.count("rebuild: at least 0") == 1
