"""How a container image is named."""

from __future__ import annotations

import re

from infra.model.problems import RefusedError

IMAGE_PATTERN = (
    r"^([a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]{1,5})?/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"@sha256:[0-9a-f]{64}$"
)
"""`[registry[:port]/]path@sha256:digest`, the OCI distribution specification's grammar."""

_LONGEST = 255 + len("@sha256:") + 64  # the name's limit is OCI's


def check_image(reference: str) -> str:
    """An image named by its digest alone: what a tag means can change. Raises RefusedError."""
    if len(reference) <= _LONGEST and re.fullmatch(IMAGE_PATTERN, reference):
        return reference
    name, at, _ = reference.partition("@sha256:")
    if not at:
        what = "an image named without its digest: a tag's content can change"
        mend = "write name@sha256:..., as `skopeo inspect --format '{{.Digest}}'` tells"
        raise RefusedError(what, mend)
    if ":" in name.rpartition("/")[2]:
        raise RefusedError("an image with a tag and a digest", "leave the tag out: only one counts")
    raise RefusedError("not an image reference", "write name@sha256:<64 hex digits>, lower case")
