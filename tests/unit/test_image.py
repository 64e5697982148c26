"""The golden image's name and parts; building and booting it is for the machine tests."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from image import rootfs, tensorflow
from image.kernel import write_vmlinux
from image.store import fresh_folder, image_folder, image_of, is_there, recipe
from infra.local.image import golden_image
from infra.model.problems import ProblemsError
from tools.steps import StepError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_missing_image_names_the_command_that_makes_it() -> None:
    with pytest.raises(ProblemsError, match="make image"):
        golden_image()


def test_a_built_image_is_found() -> None:
    image_folder().mkdir(parents=True)
    image = golden_image()
    assert image.disk.parent == image.directory == image_folder()


def test_a_fresh_build_is_the_newest_and_leaves_the_ones_before() -> None:
    first = image_folder()
    first.mkdir(parents=True)
    (first / "disk.raw").write_bytes(b"")
    identity = golden_image().identity
    (first.parent / f"{first.name}-20260101T000000.x1y2z3.part").mkdir()
    assert golden_image().directory == first
    fresh = fresh_folder()
    fresh.mkdir()
    assert golden_image().directory == image_folder() == fresh != first
    assert image_of(identity).directory == first
    assert is_there(identity)
    (first / "disk.raw").unlink()
    assert not is_there(identity)


def test_any_change_of_a_recipe_is_another_image(tmp_path: Path) -> None:
    one, two = tmp_path / "one.sh", tmp_path / "two.sh"
    one.write_text("a")
    two.write_text("b")
    before = recipe([one, two])
    assert recipe([two, one]) == before
    one.write_text("b")
    two.write_text("a")
    assert recipe([one, two]) != before


def bzimage(kernel: bytes, size: int) -> bytes:
    """A file with the parts of a bzImage that the unpacker reads: two sectors of set-up code."""
    packed = subprocess.run(["zstd", "-qc"], input=kernel, capture_output=True, check=True).stdout
    payload = packed + struct.pack("<I", size)
    header = bytearray(2 * 512)
    header[0x1F1] = 1
    header[0x248:0x250] = struct.pack("<II", 16, len(payload))
    return bytes(header) + bytes(16) + payload + b"more code"


def test_the_kernel_is_unpacked(tmp_path: Path) -> None:
    kernel = b"\x7fELF" + bytes(range(256)) * 100
    (tmp_path / "vmlinuz").write_bytes(bzimage(kernel, len(kernel)))
    write_vmlinux(tmp_path / "vmlinuz", tmp_path / "vmlinux")
    assert (tmp_path / "vmlinux").read_bytes() == kernel


def test_a_damaged_kernel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage(b"\x7fELF", 5))
    with pytest.raises(StepError, match="damaged"):
        write_vmlinux(tmp_path / "vmlinuz", tmp_path / "vmlinux")


@pytest.mark.parametrize(
    "head",
    [
        "#!/home/someone/.venv/bin/python\n",
        "#!/bin/sh\n'''exec' '/a very long/path/bin/python3.11' \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_installed_scripts_use_the_images_python(tmp_path: Path, head: str) -> None:
    script = tmp_path / "jupyter"
    script.write_text(head + "import sys\n")
    tensorflow.fix_interpreter(script)
    assert script.read_text() == "#!/usr/bin/python3\nimport sys\n"


def test_other_scripts_stay_as_they_are(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_bytes(b"#!/bin/sh\nexec true\n")
    tensorflow.fix_interpreter(script)
    assert script.read_bytes() == b"#!/bin/sh\nexec true\n"


def test_another_mirror_serves_every_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDLOCK_DEBIAN_MIRROR", "http://mirror.example/debian/")
    addresses = [line.split()[2] for line in rootfs.sources("trixie", tmp_path / "keys.asc")]
    assert addresses == [
        "http://mirror.example/debian",
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    ]


def _distribution(place: Path, name: str, version: str, *requires: str) -> None:
    about = place / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    (about / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


def _constraints(place: Path) -> list[str]:
    """What the script prints where just the distributions of `place` are installed."""
    script = rootfs.INSIDE / "constraints.py"
    done = subprocess.run(
        [sys.executable, "-S", script],
        env={"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:-1]


def test_pip_has_to_leave_what_the_images_tensorflow_needs(tmp_path: Path) -> None:
    _distribution(
        tmp_path, "tensorflow_cpu", "2.9.3",
        "numpy (>=1.20)", "protobuf (<3.20,>=3.9.2)", "tensorboard (<2.10,>=2.9)",
        "six>=1.12; python_version < '4'", 'absent<2; extra == "gpu"',
    )  # fmt: skip
    _distribution(tmp_path, "tensorboard", "2.9.1", "requests[socks] (<3,>=2.21.0)", "werkzeug")
    _distribution(tmp_path, "requests", "2.32", 'idna<4; python_version < "3.12"', "chardet<6")
    for name, version in (
        ("numpy", "1.23.5"), ("protobuf", "3.19.6"), ("six", "1.17"), ("setuptools", "79.0.1"),
        ("werkzeug", "3.0"), ("idna", "3.1"), ("unrelated", "1.0"),
    ):  # fmt: skip
        _distribution(tmp_path, name, version)
    assert _constraints(tmp_path) == [
        'idna<4; python_version < "3.12"',
        "numpy<1.24",
        "protobuf<3.20,>=3.9.2",
        "requests<3,>=2.21.0",
        "setuptools<82",
        "tensorboard<2.10,>=2.9",
    ]


def test_pip_is_free_where_the_image_has_no_tensorflow(tmp_path: Path) -> None:
    _distribution(tmp_path, "numpy", "1.23.5")
    assert _constraints(tmp_path) == []
