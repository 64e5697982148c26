"""The golden image that machines are made from, which has to be there first."""

from __future__ import annotations

from image.store import GoldenImage, image_folder
from infra.model.problems import Problem, ProblemsError


def golden_image() -> GoldenImage:
    """The newest cached golden image. Raises ProblemsError when it has not been built."""
    directory = image_folder()
    if not directory.is_dir():
        what = f"the golden image is not in {directory.parent}"
        raise ProblemsError([Problem(None, None, what, "make image")])
    return GoldenImage(directory)
