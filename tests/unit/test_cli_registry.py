"""Digests of container images: against a registry in this process, and Debian's where there is one.

The first asks for a token, as Docker Hub does; the second is the reference implementation.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cli.aws.registry import look_up
from infra.model.problems import RefusedError
from tools.packages import unpacked

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = b'{"architecture": "amd64", "os": "linux"}'


def manifest() -> bytes:
    """Of an image with one layer of 3 GB, written with blanks that its digest counts."""
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(CONFIG)}
    config["digest"] = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    layer = {"mediaType": "application/x", "size": 3_000_000_000, "digest": "sha256:" + "1" * 64}
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    return json.dumps(document, indent=3).encode()


def index(*architectures: str) -> bytes:
    """Of an image for several platforms."""
    manifests = [
        {"digest": f"sha256:{'2' * 64}", "platform": {"os": "linux", "architecture": one}}
        for one in architectures
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()


class Registry(http.server.BaseHTTPRequestHandler):
    """Tags by path, behind anonymous tokens; what is not there is refused as Docker Hub does."""

    tags: ClassVar[dict[str, tuple[str, bytes]]] = {
        "tf/tf/manifests/2.9.3-gpu": (MANIFEST, manifest()),
        "many/manifests/latest": (INDEX, index("arm64", "amd64")),
        "arm/manifests/latest": (INDEX, index("arm64")),
        "huge/manifests/latest": (MANIFEST, b" " * 5_000_000),
        "html/manifests/latest": ("text/html", b"<html>log in to the hotel</html>"),
    }

    def do_GET(self) -> None:
        """Answer as the distribution specification and the token specification have it."""
        url = urllib.parse.urlsplit(self.path)
        asked = urllib.parse.parse_qs(url.query)
        if url.path == "/token":
            token = f"for {asked['scope'][0]} at {asked['service'][0]}"
            return self._answer(200, "application/json", json.dumps({"token": token}).encode())
        path = url.path.removeprefix("/v2/")
        scope = f"repository:{path.partition('/manifests/')[0]}:pull"
        if path.startswith("busy/"):
            return self._answer(429, "text/plain", b"toomanyrequests")
        if self.headers["Authorization"] != f"Bearer for {scope} at here":
            return self._answer(401, "text/plain", b"", scope)
        if path not in self.tags or MANIFEST not in self.headers["Accept"]:
            return self._answer(404, "application/json", b"{}")
        return self._answer(200, *self.tags[path])

    def _answer(self, code: int, kind: str, body: bytes, scope: str = "") -> None:
        self.send_response(code)
        if scope:
            realm = f"http://{self.headers['Host']}/token"
            challenge = f'Bearer realm="{realm}",service="here",scope="{scope}"'
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The registry's host and port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_digest_is_of_the_very_bytes_that_the_registry_has(registry: str) -> None:
    image = look_up(f"{registry}/tf/tf:2.9.3-gpu")
    assert image.pinned == f"{registry}/tf/tf@sha256:{hashlib.sha256(manifest()).hexdigest()}"
    assert image.compressed_bytes == 3_000_000_000
    several = look_up(f"{registry}/many")
    assert several.tag == "latest"
    assert several.digest.endswith(hashlib.sha256(index("arm64", "amd64")).hexdigest())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tf/tf:none", "there is no .*tf/tf:none, or not for everybody"),
        ("arm", "not made for linux/amd64, only for linux/arm64"),
        ("busy", "too many questions"),
        ("huge", "larger than a manifest may be"),
        ("html", "something else than a manifest"),
        ("NOT a name", "is no image"),
    ],
)
def test_what_cannot_be_pinned_is_told(registry: str, name: str, told: str) -> None:
    with pytest.raises(RefusedError, match=told):
        look_up(f"{registry}/{name}")


def test_a_registry_that_is_not_there_has_a_way_round() -> None:
    with pytest.raises(RefusedError, match="--image NAME@sha256:DIGEST"):
        look_up("127.0.0.1:1/tf:1")


@pytest.fixture
def debians(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry, empty."""
    program = unpacked("docker-registry") / "usr/bin/docker-registry"
    if not program.exists():
        pytest.skip("no docker-registry: make test brings it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "images")}},
        "http": {"addr": address},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    with subprocess.Popen(
        [program, "serve", tmp_path / "config.yml"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for(f"http://{address}/v2/")
        yield address
        process.terminate()


def wait_for(url: str) -> None:
    """Until it answers."""
    for _ in range(100):
        try:
            send(url)
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{url} does not answer")


def send(url: str, method: str = "GET", data: bytes | None = None, kind: str = "") -> Any:
    """A request to a registry of ours."""
    request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return answer.headers


def test_the_reference_registry_agrees(debians: str) -> None:
    base = f"http://{debians}/v2/lab/tf"
    layer = b"layer"
    digests = []
    for blob in (CONFIG, layer):
        digests.append(f"sha256:{hashlib.sha256(blob).hexdigest()}")
        place = send(f"{base}/blobs/uploads/", "POST", b"")["Location"]
        send(f"{place}&digest={digests[-1]}", "PUT", blob, "application/octet-stream")
    document = json.loads(manifest())
    document["layers"] = [{**document["layers"][0], "size": len(layer), "digest": digests[1]}]
    told = send(f"{base}/manifests/2.9.3", "PUT", json.dumps(document).encode(), MANIFEST)
    image = look_up(f"{debians}/lab/tf:2.9.3")
    assert image.digest == told["Docker-Content-Digest"]
    assert image.compressed_bytes == len(layer)
