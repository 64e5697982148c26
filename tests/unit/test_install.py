"""The scripts that make a stock Debian an AWS machine."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from cloudinit import install

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = "registry.example.org/tensorflow@sha256:" + "0f3a" * 16


@pytest.mark.parametrize(
    "script",
    [
        install.render_install(IMAGE),
        install.render_install(None),
        install.render_workspaces(),
        install.render_gateway(),
    ],
)
def test_shellcheck_finds_nothing(script: str, tmp_path: Path) -> None:
    path = tmp_path / "script.sh"
    path.write_text(script)
    done = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_key_is_the_one_that_its_fingerprint_names() -> None:
    key = base64.b64decode(install.agent_key())
    # RFC 4880: an old-format packet with two bytes of length; 12.2 says what is hashed.
    assert key[0] == 0x99
    packet = key[: 3 + int.from_bytes(key[1:3], "big")]
    assert hashlib.sha1(packet).hexdigest().upper() == install.AGENT_FINGERPRINT  # noqa: S324


def test_it_waits_for_the_lock_of_apts_lists(tmp_path: Path) -> None:
    (lists := tmp_path / "lists" / "partial").mkdir(parents=True)
    head = install.render_install(None).partition('\nsay "')[0].replace("sleep 10", "sleep 0.1")
    script = f"{head}\nupdate\necho done\n"
    lock = (lists.parent / "lock").open("w")
    fcntl.lockf(lock, fcntl.LOCK_EX)  # as apt takes it
    with subprocess.Popen(
        ["bash", "-c", script],
        env={**os.environ, "APT_CONFIG": str(_apt(tmp_path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        assert "lists/lock" in waiting.stderr.readline()
        lock.close()
        said, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, said.splitlines()[-1]) == (0, "done")


ARCHIVE = "http://deb.debian.org/debian"
DEB822 = f"Types: deb\nURIs: {ARCHIVE}\nSuites: trixie trixie-updates\nComponents: main\n"
KEYS = "/usr/share/keyrings/debian-archive-keyring"
# As Debian's AMIs have had it, and as people write it.
SOURCES = {
    "debian.sources": [
        f"{DEB822}Signed-By: {KEYS}.gpg\n",
        f"{DEB822}Signed-By: {KEYS}.pgp\n",
        DEB822,
    ],
    "debian.list": [f"deb [signed-by=/etc/apt/keyrings/debian.asc] {ARCHIVE} trixie main\n"],
}


@pytest.mark.parametrize(
    ("name", "source"), [(name, source) for name, all_ in SOURCES.items() for source in all_]
)
def test_apt_takes_our_source_beside_that_of_the_image(
    name: str, source: str, tmp_path: Path
) -> None:
    config = _apt(tmp_path)
    places = tmp_path / "etc" / "sources.list.d"
    (places / name).write_text(source)
    steps = install.render_install(None).split('say "')
    (step,) = (each for each in steps if each.startswith("NVIDIA's driver"))
    ours = step.partition("\n")[2].partition("\nupdate\n")[0]
    ours = ours.replace("/etc/apt/sources", f"{tmp_path}/etc/sources")
    ours = ours.replace("/etc/modprobe.d", str(tmp_path))
    list_ = "apt-get indextargets --no-release-info --format '$(RELEASE) $(COMPONENT)'"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{ours}\n{list_} 'Created-By: Packages'"],
        env={**os.environ, "APT_CONFIG": str(config)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    wanted = {("trixie", each) for each in ("main", "contrib", "non-free", "non-free-firmware")}
    assert {tuple(line.split()) for line in done.stdout.splitlines()} >= wanted
    assert "Signed-By: /" in (places / "secondlock-nvidia.sources").read_text()


def _apt(place: Path) -> Path:
    """A configuration for an apt of its own in `place`, without sources (apt.conf(5))."""
    for folder in ("etc/sources.list.d", "etc/apt.conf.d", "cache/archives/partial", "lists"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    config = place / "apt.conf"
    config.write_text(
        f'Dir::State::Lists "{place}/lists"; Dir::State::status "{place}/status";\n'
        f'Dir::Cache "{place}/cache"; Dir::Etc "{place}/etc"; APT::Architecture "amd64";\n'
    )
    return config


def test_only_an_image_with_a_digest_is_fetched_by_the_script() -> None:
    assert f"docker pull --quiet {IMAGE}" in install.render_install(IMAGE)
    assert "docker pull" not in install.render_install(None)
