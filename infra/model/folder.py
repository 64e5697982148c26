"""A stack's folder: `stacks/<stack>/<researcher>.yaml` and `machines/<name>.yaml` beside them.

Every error of every file is found at once, each with its file and line, before anything is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from infra.model.explain import validate
from infra.model.fields import MAKE_ENROLLMENT
from infra.model.machine import SharedMachine
from infra.model.members import MachineRequest, machines_of, misfits
from infra.model.names import check_machine_name
from infra.model.person import InstanceRequest
from infra.model.problems import Problem, ProblemsError, RefusedError
from infra.model.retired import RETIRED_FILE, RetiredEnrollment, load_retired
from infra.model.ssh_keys import KEY_TYPES, key_blob
from infra.model.text import brief, shell_line, shell_word
from infra.model.yaml_lines import Document, Location, dotted, read_document

MACHINES = "machines"
"""In a stack's folder: the shared machines, a file each."""


@dataclass(frozen=True)
class Requests:
    """All that a stack's folder asks for."""

    people: tuple[InstanceRequest, ...]
    """By name."""
    machines: tuple[MachineRequest, ...]
    """By name: people's own and shared ones."""
    retired: tuple[RetiredEnrollment, ...]


def load_folder(folder: Path, instead: Mapping[Path, str] | None = None) -> Requests:
    """What a stack's folder asks for.

    `instead` has texts for files of the folder that are not written yet. Raises ProblemsError with
    every problem of every file. No request at all is a problem too, unless retired.yaml shows that
    there were some: the last researcher must be able to go.
    """
    problems: list[Problem] = []
    texts = instead or {}
    files = sorted({*_files(folder, problems, may_lack=bool(texts)), *texts})
    documents = [read_document(file, inside=folder, text=texts.get(file)) for file in files]
    for document in documents:
        _join_keys(document)
    people = _valid(InstanceRequest, documents)
    shared, of_machines = _shared(folder, problems)
    retired: list[RetiredEnrollment] = []
    try:
        retired = load_retired(folder)
    except ProblemsError as error:
        problems += error.problems
    # What is not written yet comes last: it is at fault where it has what another has.
    _check_together(sorted(documents, key=lambda one: one.file in texts), retired)
    for document in (*documents, *of_machines):
        problems += document.problems
    if len(people) == len(documents) and len(shared) == len(of_machines):
        problems += misfits(people, shared)
    if not documents and not retired and not problems:
        what = "no request in this folder: there is nothing to make"
        mend = f"./secondlock request RESEARCHER --stack {shell_word(folder.name)}"
        problems.append(Problem(folder, None, what, mend))
    if problems:
        raise ProblemsError(sorted(problems, key=lambda one: (str(one.file), one.line or 0)))
    return Requests(tuple(people), tuple(machines_of(people, shared)), tuple(retired))


def load_requests(folder: Path, instead: Mapping[Path, str] | None = None) -> list[InstanceRequest]:
    """The people of `load_folder`, in a list. Raises ProblemsError."""
    return list(load_folder(folder, instead).people)


_D = TypeVar("_D", InstanceRequest, SharedMachine)


def _valid(model: type[_D], documents: Sequence[Document]) -> list[_D]:
    """Those of the documents that are what they should be; the others say why they are not."""
    found = []
    for document in documents:
        loaded = validate(model, document)
        if loaded is not None:
            loaded._document = document
            found.append(loaded)
    return found


def _shared(
    folder: Path, problems: list[Problem]
) -> tuple[dict[str, SharedMachine], list[Document]]:
    """The shared machines by name, and all documents about them."""
    place = folder / MACHINES
    if not os.path.lexists(place):
        return {}, []
    try:
        files = _files(place, problems, may_lack=True)
    except ProblemsError as error:
        problems += error.problems
        return {}, []
    documents = [read_document(file, inside=folder) for file in files]
    for document in documents:
        try:
            check_machine_name(document.file.stem)
        except RefusedError as refused:
            problem = refused.problem
            document.add((), f"the file's name: {problem.what}", problem.mend)
    found = _valid(SharedMachine, documents)
    return {one._document.file.stem: one for one in found if one._document}, documents


def _files(folder: Path, problems: list[Problem], *, may_lack: bool) -> list[Path]:
    """The YAML files of a folder. Raises ProblemsError where it is not there or not readable."""
    files = []
    for file in _listed(folder, may_lack=may_lack):
        if file.name.startswith(".") or file.suffix.lower() not in {".yaml", ".yml"}:
            continue
        if file.suffix != ".yaml":
            words = ("mv", "--", str(file), str(file.with_suffix(".yaml")))
            problems.append(Problem(file, None, "is not called *.yaml", shell_line(words)))
        elif file.name != RETIRED_FILE:
            files.append(file)
    return files


def _listed(folder: Path, *, may_lack: bool) -> list[Path]:
    try:
        if folder.resolve().parent != folder.parent.resolve():
            what = "a link to a folder elsewhere, which is not read"
            raise ProblemsError([Problem(folder, None, what, "put the requests here")])
        return sorted(folder.iterdir())
    except FileNotFoundError:
        if may_lack:
            return []
        mend = f"./secondlock request RESEARCHER --stack {shell_word(folder.name)}"
        problem = Problem(folder, None, "there is no such folder", mend)
    except NotADirectoryError:
        mend = "move what is there out of the way"
        problem = Problem(folder, None, "this is not a folder", mend)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or "links in a circle"
        problem = Problem(folder, None, f"cannot be read: {reason}")
    raise ProblemsError([problem])


def _join_keys(document: Document) -> None:
    """Take `ssh-ed25519 AAAA... work: laptop` as the key that it is: to YAML it is a field."""
    keys = document.data.get("ssh_keys")
    if not isinstance(keys, list):
        return
    for index, key in enumerate(keys):
        written = document.written.get(("ssh_keys", index), "")
        if isinstance(key, dict) and written.startswith(KEY_TYPES):
            keys[index] = written


def _check_together(documents: list[Document], retired: list[RetiredEnrollment]) -> None:
    """What no file shows alone. Files with other errors count: all errors come at once."""
    over = {entry.enrollment: entry for entry in retired}
    first: dict[tuple[str, str], Document] = {}
    for document in documents:
        _check_file_name(document)
        for location, kind, value in _unique_values(document):
            other = first.setdefault((kind, value), document)
            if other is not document:
                where = f"{other.file.name} has the same {kind}"
                document.add(location, f"{dotted(location)}: {where}", _SAME[kind])
        enrollment = document.data.get("enrollment")
        entry = over.get(enrollment) if isinstance(enrollment, str) else None
        if entry:
            what = f"enrollment: retired on {entry.date} ({entry.researcher}, {entry.reason})"
            words = ("rotate", document.file.stem, "--stack", document.file.parent.name)
            mend = shell_line(["./secondlock", *words])
            document.add(("enrollment",), what, mend)


_SAME = {
    "researcher": "one file for each researcher",
    "enrollment": f"each phone has its own: {MAKE_ENROLLMENT}",
    "SSH key": "a key is one person's: remove it from one of them",
}


def _unique_values(document: Document) -> Iterator[tuple[Location, str, str]]:
    for name in ("researcher", "enrollment"):
        value = document.data.get(name)
        if isinstance(value, str):
            yield (name,), name, value
    keys = document.data.get("ssh_keys")
    for index, key in enumerate(keys if isinstance(keys, list) else []):
        if isinstance(key, str) and key_blob(key):
            yield ("ssh_keys", index), "SSH key", key_blob(key)


def _check_file_name(document: Document) -> None:
    researcher = document.data.get("researcher")
    if not isinstance(researcher, str) or researcher == document.file.stem:
        return
    what = f"researcher: `{brief(researcher, 40)}` in a file called {document.file.name}"
    document.add(("researcher",), what, "the file's name is the researcher's, then .yaml")
