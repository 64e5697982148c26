"""What a first boot or bake fetches besides Debian's archive, on this computer's loopback.

NVIDIA's packages for containers, Systems Manager's agent and the instance's metadata: of the right
names and versions, signed with a key made for the occasion. What is in them does nothing, but for
`nvidia-ctk`, which lists a GPU.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import shutil
import subprocess
import threading
from functools import partial
from typing import TYPE_CHECKING

from cloudinit import install
from tests.support.aws_machine import GPU

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REGION = "eu-central-1"
HERE = "127.0.0.1"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Whom this computer believes (update-ca-certificates(8))."""
# `nvidia-ctk cdi generate --output=FILE` as secondlock-gpu.service calls it.
LISTER = f"""\
#!/bin/sh
mkdir -p /run/cdi
cat >"${{3#--output=}}" <<'END'
{json.dumps(GPU)}
END
"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files, and IMDSv2's token."""

    def do_PUT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"token")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class StandIns:
    """A web server in the folder `place`, which it fills."""

    def __init__(self, place: Path) -> None:
        self._gpg_home = place / "gpg"
        self._gpg_home.mkdir(mode=0o700)
        self._gpg("--quick-gen-key", "stand-in", "rsa2048", "sign", "never")
        web = place / "web"
        self._toolkit(web / "toolkit")
        self._agent(web / "ssm" / install.AGENT_VERSION / "debian_amd64")
        region = web / "imds" / "latest" / "meta-data" / "placement" / "region"
        region.parent.mkdir(parents=True)
        region.write_text(REGION)
        shutil.copy(AUTHORITIES, web / "authorities.pem")
        handler = partial(_Handler, directory=str(web))
        self._server = http.server.ThreadingHTTPServer((HERE, 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def in_place(self, script: str, host: str = HERE) -> str:
        """The install script, with these for the sources that it names; `host` is this computer
        as the script sees it."""
        here = self.address(host)
        for old, new in (
            ("https://nvidia.github.io/libnvidia-container", f"{here}/toolkit"),
            ("http://169.254.169.254", f"{here}/imds"),
            ("https://s3.$region.$domain/amazon-ssm-$region", f"{here}/ssm"),
            (install.TOOLKIT_FINGERPRINT, self._fingerprint()),
            (install.agent_key(), self._key()),
        ):
            assert old in script, old
            script = script.replace(old, new)
        return script

    def address(self, host: str = HERE) -> str:
        """Where these are, for who calls this computer so."""
        return f"http://{host}:{self._server.server_port}"

    def end(self) -> None:
        """Nobody answers any more."""
        self._server.shutdown()

    def _gpg(self, *arguments: str) -> bytes:
        command = ["gpg", "--homedir", str(self._gpg_home), "--batch", "--yes", "--passphrase", ""]
        done = subprocess.run([*command, *arguments], capture_output=True, check=True)
        return done.stdout

    def _fingerprint(self) -> str:
        lines = self._gpg("--list-keys", "--with-colons").decode().splitlines()
        (first, *_) = (line.split(":")[9] for line in lines if line.startswith("fpr:"))
        return first

    def _key(self) -> str:
        text = base64.b64encode(self._gpg("--export")).decode()
        return "\n".join(text[at : at + 76] for at in range(0, len(text), 76))

    def _toolkit(self, place: Path) -> None:
        """An archive with the toolkit's packages (Debian Wiki, "DebianRepository/Format")."""
        there = place / "stable" / "deb" / "amd64"
        there.mkdir(parents=True)
        (place / "gpgkey").write_bytes(self._gpg("--armor", "--export"))
        paragraphs = []
        for wanted in install.TOOLKIT_PACKAGES:
            name, _, version = wanted.partition("=")
            programs = {"nvidia-ctk": LISTER} if name == "nvidia-container-toolkit-base" else {}
            control, package = _package(there, name, version, programs)
            paragraphs.append(
                f"{control}Filename: ./{package.name}\nSize: {package.stat().st_size}\n"
                f"SHA256: {_digest(package)}\n"
            )
        packages = there / "Packages"
        packages.write_text("\n".join(paragraphs))
        (there / "Release").write_text(
            "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
            f" {_digest(packages)} {packages.stat().st_size} Packages\n"
        )
        release = ("--clearsign", "--output", str(there / "InRelease"), str(there / "Release"))
        self._gpg(*release)

    def _agent(self, place: Path) -> None:
        place.mkdir(parents=True)
        _, package = _package(place, "amazon-ssm-agent", install.AGENT_VERSION, {})
        package.rename(place / "amazon-ssm-agent.deb")
        self._gpg("--detach-sign", str(place / "amazon-ssm-agent.deb"))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _package(place: Path, name: str, version: str, programs: Mapping[str, str]) -> tuple[str, Path]:
    """A package's control paragraph, and its file. The agent's has a unit of that name."""
    tree = place / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
        f"Maintainer: nobody\nDescription: a stand-in\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    unit = tree / "usr" / "lib" / "systemd" / "system" / f"{name}.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(
        "[Service]\nExecStart=/bin/sleep infinity\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    for program, text in programs.items():
        file = tree / "usr" / "bin" / program
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    package = place / f"{name}_{version}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", tree, package],
        check=True,
        capture_output=True,
    )
    return control, package
