"""A real image registry on this computer, and a stock image in it that brings little."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from image.store import tensorflow_folder
from tests.support.client import PATIENCE, free_port
from tools.packages import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

# What any image has; of what a login needs (sftp-server, scp, rsync, tmux, Jupyter), nothing.
PACKAGES = ("base-files", "bash", "coreutils", "dash", "findutils", "grep", "sed", "libacl1",
            "libattr1", "libc-bin", "libc6", "libgmp10", "libpcre2-8-0", "libpcre3", "libselinux1",
            "libtinfo6", "ncurses-base")  # fmt: skip
# OCI Image Format Specification, "Media Types".
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Registry:
    """A registry that listens on this computer's loopback."""

    port: int

    def push(self, name: str, layer: Path) -> str:
        """Put in an image of one layer; its manifest's digest (OCI Distribution Specification)."""
        digest, size = _digest(layer), layer.stat().st_size
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["bash"]},
                "rootfs": {"type": "layers", "diff_ids": [digest]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "size": len(config), "digest": _sha256(config)},
                "layers": [{"mediaType": LAYER, "size": size, "digest": digest}],
            }
        ).encode()
        with layer.open("rb") as file:
            self._blob(name, digest, file, size)
        self._blob(name, _sha256(config), io.BytesIO(config), len(config))
        address = f"/v2/{name}/manifests/{_sha256(manifest)}"
        self._send("PUT", address, manifest, {"Content-Type": MANIFEST})
        return _sha256(manifest)

    def _blob(self, name: str, digest: str, content: Any, size: int) -> None:
        place = self._send("POST", f"/v2/{name}/blobs/uploads/", b"", {})["Location"]
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._send("PUT", f"{place}&digest={digest}", content, headers)

    def _send(self, method: str, address: str, data: Any, headers: dict[str, str]) -> Any:
        if address.startswith("/"):
            address = f"http://127.0.0.1:{self.port}{address}"
        request = urllib.request.Request(address, data, headers, method=method)  # noqa: S310
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=PATIENCE) as answer:
            return answer.headers


@contextmanager
def running_registry(place: Path) -> Iterator[Registry]:
    """Debian's docker-registry on a free port, its store in the folder `place`."""
    program = unpacked("docker-registry") / "usr/bin/docker-registry"
    if not program.exists():
        pytest.skip("no docker-registry: make test brings it")
    port = free_port()
    settings = place / "config.json"  # YAML includes JSON
    settings.write_text(
        json.dumps(
            {
                "version": 0.1,
                "storage": {"filesystem": {"rootdirectory": str(place / "store")}},
                "http": {"addr": f"127.0.0.1:{port}"},
            }
        )
    )
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", settings], stdout=log, stderr=log)
    try:
        _wait_until_served(f"http://127.0.0.1:{port}/v2/", place / "log")
        yield Registry(port)
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_served(address: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 30
    while True:
        try:
            opener.open(address, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


def stock_layer(target: Path) -> None:
    """Debian 11 from our TensorFlow image's own files, without what we put into that one.

    For a Python it has a script that says what it was asked.
    """
    source = tensorflow_folder() / "rootfs.tar"
    if not source.exists():
        pytest.skip("no TensorFlow image to take a base system from: make image")
    with tarfile.open(source) as whole, tarfile.open(target, "w") as layer:
        wanted = _listed(whole)
        for member in whole:
            if (member.isdir() and member.name.count("/") <= 2) or _plain(member.name) in wanted:
                layer.addfile(member, whole.extractfile(member) if member.isreg() else None)
        python = tarfile.TarInfo("./usr/local/bin/python3")
        script = b'#!/bin/sh\necho "$@"\n'
        python.mode, python.size = 0o755, len(script)
        layer.addfile(python, io.BytesIO(script))


def _listed(whole: tarfile.TarFile) -> set[str]:
    """The files of PACKAGES, as dpkg lists them."""
    wanted = set()
    for member in whole:
        owner = member.name.removeprefix("./var/lib/dpkg/info/").removesuffix(".list")
        if owner.partition(":")[0] in PACKAGES and member.name.endswith(".list"):
            file = whole.extractfile(member)
            assert file is not None
            wanted |= {_plain(line) for line in file.read().decode().splitlines()}
    return {path for path in wanted if not path.startswith(("share/doc", "share/man"))}


def _plain(path: str) -> str:
    """The same for a file's place before and after the merge of / and /usr."""
    return path.removeprefix(".").removeprefix("/").removeprefix("usr/")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
