"""From `up` to the first login, against a bare boot; and what later logins take."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pyotp

from bench.table import Row
from infra.enrollment import fingerprint
from infra.local import qemu
from infra.local.image import golden_image
from tests.support.client import drive
from tests.support.people import make_key
from tests.support.plans import make_plan
from tests.support.project import STACK, Project

GOAL = 1.25
BY_CODE, BY_CERTIFICATE = 1.6, 1.4
MEMORY_MIB, CPUS, ROOT_GIB = 4096, 2, 20
PATIENCE = 900.0  # seconds
LOGINS = 3
BOOTS = 2
STEP = 30

# sshd with a key and nothing else, as early as the image allows.
BARE = """\
#cloud-config
hostname: bare
ssh_genkeytypes: [ed25519]
users:
  - {{name: person, shell: /bin/bash, lock_passwd: false, ssh_authorized_keys: ["{key}"]}}
bootcmd:
  - [systemctl, start, --no-block, ssh.service]
"""


def measure() -> list[Row]:
    """Rows for the way to the first login, and for later logins."""
    bare, ours = [], []
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        for boot in range(BOOTS):
            logins = LOGINS if boot == BOOTS - 1 else 0
            bare.append(_bare(Path(folder) / f"bare{boot}", logins))
            ours.append(_lab(Path(folder) / f"lab{boot}", logins))
    # The quicker boot of each: what disturbs a computer only ever makes it slower.
    (bare_boot, ours_up) = (min(up for up, _ in each) for each in (bare, ours))
    by_key, by_code, by_certificate = map(
        statistics.median, (bare[-1][1], ours[-1][1][:LOGINS], ours[-1][1][LOGINS:])
    )
    return [
        Row(
            f"from `pulumi up` to inside the workspace, seconds (the best of {BOOTS})",
            f"{ours_up:.0f}",
            f"{bare_boot:.0f} (bare boot of the same image to a key login)",
            ours_up / bare_boot,
            GOAL,
        ),
        Row(
            f"login with key and code, seconds (median of {LOGINS})",
            f"{by_code:.1f}",
            f"{by_key:.1f} (key only, no workspace)",
            by_code / by_key,
            BY_CODE,
        ),
        Row(
            f"login with a certificate of today, seconds (median of {LOGINS})",
            f"{by_certificate:.1f}",
            f"{by_key:.1f} (key only, no workspace)",
            by_certificate / by_key,
            BY_CERTIFICATE,
        ),
    ]


def _ssh(port: int, user: str, key: Path) -> list[str]:
    options = {
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "IdentitiesOnly": "yes",
        "ConnectTimeout": "10",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", *words, "-i", str(key), "-p", str(port), f"{user}@127.0.0.1"]


def _bare(place: Path, logins: int) -> tuple[float, list[float]]:
    """Seconds from the start of QEMU to a login by key; and of so many logins later."""
    machine = place / "machine"
    machine.mkdir(parents=True, mode=0o700)
    key = make_key(place / "key")
    image = golden_image()
    started = time.monotonic()
    qemu.create_root_disk(machine, image.disk, ROOT_GIB)
    qemu.create_seed(machine, BARE.format(key=key).encode(), "bare", "bare")
    qemu.create_data(place / "data", ROOT_GIB)
    spec = qemu.start(
        qemu.MachineSpec(
            name="bare",
            directory=machine,
            data_directory=place / "data",
            kernel=image.kernel,
            initrd=image.initrd,
            cpus=CPUS,
            memory_mib=MEMORY_MIB,
        )
    )
    try:
        login = [*_ssh(spec.ssh_port, "person", place / "key"), "true"]
        while subprocess.run(login, capture_output=True, check=False).returncode != 0:
            if time.monotonic() - started > PATIENCE:
                raise RuntimeError("the bare machine let nobody in")
            time.sleep(0.5)
        boot = time.monotonic() - started
        return boot, [_timed_key(login) for _ in range(logins)]
    finally:
        qemu.kill(machine)
        shutil.rmtree(place)


def _timed_key(login: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(login, check=True, capture_output=True)
    return time.monotonic() - started


def _lab(place: Path, logins: int) -> tuple[float, list[float]]:
    """Seconds from `pulumi up` to the end of the first login; and of so many logins later.

    First those by a code, then as many by a certificate.
    """
    project = Project(place)
    project.succeed("config", "set", "secondlock:rememberHours", "1")
    machine = {"cpus": CPUS, "memory_gib": MEMORY_MIB // 1024, "root_disk_gib": ROOT_GIB}
    project.request("alice", machine=machine)
    key = next(path for path in (place / "keys").iterdir() if not path.suffix)
    try:
        started = time.monotonic()
        project.up()
        port = project.machines()["alice"]["port"]
        enrollment = _enrollment(project)
        _login(port, key, enrollment)
        up = time.monotonic() - started
        timed = [_timed_code(port, key, enrollment) for _ in range(logins)]
        return up, timed + _by_certificate(place, port, key, enrollment, logins)
    finally:
        project.end()


def _by_certificate(
    place: Path, port: int, key: Path, enrollment: dict[str, Any], logins: int
) -> list[float]:
    if not logins:
        return []
    day = place / "day"
    make_key(day)
    time.sleep(STEP + 1 - time.time() % STEP)
    asked = [*_ssh(port, "alice", key), "secondlock-remember"]
    phone = pyotp.parse_uri(enrollment["uri"])
    assert isinstance(phone, pyotp.TOTP)
    got = drive(asked, [phone.now], stdin=day.with_suffix(".pub"))
    day.with_name("day-cert.pub").write_bytes(got.data)
    return [_timed_key([*_ssh(port, "alice.day", day), "true"]) for _ in range(logins)]


def _enrollment(project: Project) -> dict[str, Any]:
    values = {"seedFingerprint": fingerprint(project.seed)}
    return make_plan(STACK, project.requests, values, project.seed).enrollments["alice"]


def _login(port: int, key: Path, enrollment: dict[str, Any]) -> None:
    phone = pyotp.parse_uri(enrollment["uri"])
    assert isinstance(phone, pyotp.TOTP)
    result = drive([*_ssh(port, "alice", key), "true"], [phone.now])
    if result.exit != 0:
        raise RuntimeError(f"the login failed: {result.errors}")


def _timed_code(port: int, key: Path, enrollment: dict[str, Any]) -> float:
    time.sleep(STEP + 1 - time.time() % STEP)  # a code is good once: wait for the next
    started = time.monotonic()
    _login(port, key, enrollment)
    return time.monotonic() - started
