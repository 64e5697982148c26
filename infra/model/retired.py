"""retired.yaml: the enrollments of a stack that never come back."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from infra.model.authenticators import Part, mark
from infra.model.explain import validate
from infra.model.fields import Day, EnrollmentId, Model
from infra.model.problems import ProblemsError
from infra.model.yaml_lines import read_document

RETIRED_FILE = "retired.yaml"
"""In a stack's folder: the enrollments that never come back."""

DELETE = "delete"
"""The word in it by which a leaver's data goes with the machine."""

Home = Literal["keep", "archive", "delete"]
"""What becomes of a leaver's home on a shared machine: it stays, goes where root alone comes, or is
deleted."""

RETIRED_BYTES = 1024 * 1024
"""Of the list of retired enrollments, which only grows: some nine thousand."""


class RetiredEnrollment(Model):
    """An enrollment that is over: no phone or code of it may ever work again.

    The id of an authenticator or of emergency codes too, where those have one of their own.
    """

    enrollment: EnrollmentId
    researcher: str
    reason: Literal["rotated", "revoked"]
    date: Day
    part: Part | None = None
    """What alone of it is over; nothing here, and all of it is."""
    machine: str | None = None
    """The shared machine that a revoked researcher was on, and there `home` says what becomes of
    their home."""
    home: Home | None = None
    data: Literal["delete"] | None = None
    """Whether what a revoked researcher has goes with the machine: asked for in so many words."""

    @property
    def mark(self) -> str:
        """How the record of a stack has it."""
        return mark(self.enrollment, self.part)

    @property
    def with_data(self) -> bool:
        """Whether their own machine's data goes too."""
        return self.reason == "revoked" and self.data == DELETE


def _tuple_of_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class _RetiredFile(Model):
    retired: Annotated[tuple[RetiredEnrollment, ...], BeforeValidator(_tuple_of_list)]


def homes(
    retired: Sequence[RetiredEnrollment], machine: str, members: Collection[str]
) -> dict[str, Home]:
    """By name, what becomes of the homes of those who have left a shared machine.

    What was said last of somebody counts. Who stays, or is back, is not among them.
    """
    said = {
        one.researcher: one.home
        for one in retired
        if one.machine == machine and one.home is not None and one.reason == "revoked"
    }
    return {name: home for name, home in said.items() if name not in members}


def load_retired(folder: Path) -> list[RetiredEnrollment]:
    """What the folder's retired.yaml lists; nothing where there is no such file.

    Raises ProblemsError: a list that cannot be read must not let an old phone back in.
    """
    file = folder / RETIRED_FILE
    if not os.path.lexists(file):
        return []
    document = read_document(file, inside=folder, limit=RETIRED_BYTES)
    loaded = validate(_RetiredFile, document)
    if loaded is None or document.problems:
        raise ProblemsError(document.problems)
    return list(loaded.retired)
