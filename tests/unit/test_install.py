"""The scripts that make a stock Debian an AWS machine."""

from __future__ import annotations

import base64
import hashlib
import importlib
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from cloudinit import install

if TYPE_CHECKING:
    from pathlib import Path

firstboot: Any = importlib.import_module("guest.firstboot")

IMAGE = "registry.example.org/tensorflow@sha256:" + "0f3a" * 16


@pytest.mark.parametrize(
    "script",
    [
        install.render_install(IMAGE),
        install.render_install(None),
        *install.render_ours().values(),
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


def test_only_an_image_with_a_digest_is_fetched_by_the_script() -> None:
    assert f"docker pull --quiet {IMAGE}" in install.render_install(IMAGE)
    assert "docker pull" not in install.render_install(None)


def test_a_stock_machine_puts_the_parameters_together_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters = install.install_parameters()
    assert all(0 < len(value) <= install.PART for value in parameters.values())

    class Client:
        def get_parameter(self, Name: str) -> dict[str, Any]:  # noqa: N803 (botocore's name)
            return {"Parameter": {"Value": parameters[Name.removeprefix("/secondlock/demo/")]}}

    monkeypatch.setattr(firstboot.aws, "client", lambda *_: Client())
    script = firstboot.script({"stack": "demo", "region": "eu-central-1"}).decode()
    assert script.startswith("#!/bin/bash\nset -euo pipefail\n")
    assert "amazon-ssm-agent" in script
    assert "cat >/usr/local/lib/secondlock/fetch-image" in script
    assert firstboot.PART == install.PART
