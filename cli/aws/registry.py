"""The digest of a container image, asked of its registry.

OCI Distribution Specification 1.1, "Pulling manifests"; Docker's token authentication
(distribution.github.io, "Token Authentication Specification"), anonymously.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from infra.model.problems import RefusedError
from infra.model.reading import from_json

_DOCKER_HUB = "docker.io"
_HUB_API = "registry-1.docker.io"
_WITHIN = 20.0  # seconds for each request
_LARGEST = 4 * 1024 * 1024  # bytes of a manifest, the specification's limit
_LARGEST_IMAGE = 2**60  # bytes, past all belief
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_REFERENCE = re.compile(
    r"(?:(?P<registry>localhost(?::[0-9]+)?|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+(?::[0-9]+)?|"
    r"[a-zA-Z0-9-]+:[0-9]+)/)?"
    r"(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>\w[\w.-]{0,127}))?"
)
# From where a word begins alone: elsewhere a long one would be looked at from each of its letters.
_PARAMETER = re.compile(r'(?<!\w)(\w{1,32})="([^"]*)"')
_BY_DIGEST = "give --image NAME@sha256:DIGEST, which needs no registry"


@dataclass(frozen=True)
class Image:
    """An image as its registry has it now."""

    name: str
    """Without a tag; Docker Hub's without its registry."""
    tag: str
    digest: str
    compressed_bytes: int | None
    """What a machine downloads; None where the tag is of several platforms."""

    @property
    def pinned(self) -> str:
        """`name@sha256:...`, as the stack's configuration has it."""
        return f"{self.name}@{self.digest}"


def look_up(reference: str) -> Image:
    """What `[registry/]name[:tag]` is now, for linux/amd64. Raises RefusedError."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise RefusedError(f"{reference!r:.80} is no image", "write [REGISTRY/]NAME:TAG")
    registry, path, tag = match["registry"] or _DOCKER_HUB, match["path"], match["tag"] or "latest"
    name = path if registry == _DOCKER_HUB else f"{registry}/{path}"
    if registry == _DOCKER_HUB:
        registry = _HUB_API
        path = path if "/" in path else f"library/{path}"
    body = _manifest(registry, path, tag)
    try:
        size = _size(reference, from_json(body))
    except RefusedError:
        raise
    except (ValueError, TypeError, AttributeError, OverflowError):
        what = f"{registry} answers with something else than a manifest"
        raise RefusedError(what, f"is there a proxy in between? Or {_BY_DIGEST}") from None
    return Image(name, tag, f"sha256:{hashlib.sha256(body).hexdigest()}", size)


def _size(reference: str, manifest: dict[str, Any]) -> int | None:
    """The compressed size, where the manifest tells. Raises RefusedError for another platform."""
    if "manifests" in manifest:
        there = [
            f"{one.get('platform', {}).get('os')}/{one.get('platform', {}).get('architecture')}"
            for one in manifest["manifests"]
        ]
        if "linux/amd64" not in there:
            what = f"{reference} is not made for linux/amd64, only for {', '.join(there)}"
            raise RefusedError(what, "choose another tag")
        return None
    if "layers" not in manifest:
        raise RefusedError(f"{reference} is in a form too old to be pinned", "choose another tag")
    size = sum(int(layer.get("size", 0)) for layer in manifest["layers"])
    if not 0 <= size < _LARGEST_IMAGE:
        raise ValueError("no image has that size")
    return size


def _manifest(registry: str, path: str, tag: str) -> bytes:
    """The manifest's very bytes, whose SHA-256 is the digest. Raises RefusedError."""
    scheme = "http" if _is_local(registry) else "https"
    address = f"{scheme}://{registry}/v2/{path}/manifests/{tag}"
    what = f"{registry}/{path}:{tag}"
    headers = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS)), "User-Agent": "secondlock"}
    try:
        try:
            return _get(address, headers)
        except urllib.error.HTTPError as error:
            challenge = error.headers.get("WWW-Authenticate", "")
            if error.code != 401 or not challenge.lower().startswith("bearer "):
                raise
            token = _token(challenge)
        return _get(address, {**headers, "Authorization": f"Bearer {token}"})
    except urllib.error.HTTPError as error:
        raise _refused(what, error.code) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise RefusedError(
            f"{registry} cannot be asked for {path}:{tag}: {reason}",
            f"check the network and HTTPS_PROXY; or {_BY_DIGEST}",
        ) from None


def _refused(what: str, code: int) -> RefusedError:
    if code in {401, 403, 404}:
        mend = f"check the spelling; for a private image {_BY_DIGEST}"
        return RefusedError(f"there is no {what}, or not for everybody ({code})", mend)
    if code == 429:
        return RefusedError(f"the registry has had too many questions for {what}", "wait an hour")
    return RefusedError(f"the registry answers {code} for {what}", f"try later; or {_BY_DIGEST}")


def _token(challenge: str) -> str:
    """An anonymous token, from where the registry's challenge says. Raises ValueError, OSError."""
    asked = dict(_PARAMETER.findall(challenge))
    realm = urllib.parse.urlsplit(asked.pop("realm", ""))
    if realm.scheme != "https" and not (realm.scheme == "http" and _is_local(realm.netloc)):
        raise ValueError("its token service is not reached by https")
    query = urllib.parse.urlencode(
        {name: asked[name] for name in ("service", "scope") if name in asked}
    )
    address = urllib.parse.urlunsplit(realm._replace(query=query))
    answer = from_json(_get(address, {"User-Agent": "secondlock"}))
    said = answer if isinstance(answer, dict) else {}
    token = said.get("token") or said.get("access_token")
    if not isinstance(token, str) or not token.isascii():
        raise ValueError("its token service gives no token")
    return token


def _get(address: str, headers: dict[str, str]) -> bytes:
    """A resource's content. Raises OSError (HTTPError is one), ValueError."""
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - http(s), see callers
    with urllib.request.urlopen(request, timeout=_WITHIN) as answer:  # noqa: S310
        body: bytes = answer.read(_LARGEST + 1)
        if len(body) > _LARGEST:
            raise ValueError("its answer is larger than a manifest may be")
        return body


def _is_local(registry: str) -> bool:
    """As docker(1) has it: a registry of this computer is asked by http."""
    host = urllib.parse.urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
