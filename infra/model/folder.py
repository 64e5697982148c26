"""A stack's folder: `stacks/<stack>/<researcher>.yaml` and `machines/<name>.yaml` beside them.

Every error of every file is found at once, each with its file and line, before anything is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from infra.factors import DEFAULT
from infra.model.authenticators import marks, parts
from infra.model.explain import validate
from infra.model.fields import MAKE_ENROLLMENT
from infra.model.machine import SharedMachine
from infra.model.members import MachineRequest, machines_of, misfits, unwanted
from infra.model.names import check_machine_name
from infra.model.partial import known_machines, sound_machine, sound_request
from infra.model.person import InstanceRequest, takes_codes
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
    shared: Mapping[str, SharedMachine]
    """The files of shared machines, by name."""
    whole: bool = True
    """Whether no file has a fault: what is not here is nowhere."""


def load_folder(folder: Path, instead: Mapping[Path, str] | None = None) -> Requests:
    """What a stack's folder asks for. Raises ProblemsError with all that `read_folder` finds."""
    asked, problems = read_folder(folder, instead)
    if problems:
        raise ProblemsError(problems)
    return asked


def read_folder(
    folder: Path, instead: Mapping[Path, str] | None = None
) -> tuple[Requests, list[Problem]]:
    """What a stack's folder asks for, and every problem of every file.

    Where there are any, the requests are as `infra.model.partial` has them, good for finding more
    problems and nothing else. `instead` has texts for files of the folder that are not written yet.
    No request at all is a problem too, unless retired.yaml shows that there were some: the last
    researcher must be able to go.
    """
    problems: list[Problem] = []
    texts = instead or {}
    documents = _documents(folder, texts, problems)
    whole = [_valid(InstanceRequest, document) for document in documents]
    shared = _shared(folder, problems)
    retired = _retired(folder, problems)
    # What is not written yet comes last: it is at fault where it has what another has.
    _check_together(sorted(documents, key=lambda one: one.file in texts), retired)
    for document in documents:
        problems += document.problems
    parts = (each or sound_request(one) for each, one in zip(whole, documents, strict=True))
    people = [one for one in parts if one is not None]
    problems += misfits(people, shared)
    if None not in whole:
        problems += unwanted(people, shared)
    if not documents and not retired and not problems:
        what = "no request in this folder: there is nothing to make"
        mend = f"./secondlock request RESEARCHER --stack {shell_word(folder.name)}"
        problems.append(Problem(folder, None, what, mend))
    problems.sort(key=lambda one: (str(one.file), one.line or 0))
    machines = known_machines(people, shared) if problems else machines_of(people, shared)
    asked = Requests(tuple(people), tuple(machines), tuple(retired), shared, whole=not problems)
    return asked, problems


_D = TypeVar("_D", InstanceRequest, SharedMachine)


def _valid(model: type[_D], document: Document) -> _D | None:
    """What the document should be; one that is not says why."""
    loaded = validate(model, document)
    if loaded is not None:
        loaded._document = document
    return loaded


def _documents(folder: Path, texts: Mapping[Path, str], problems: list[Problem]) -> list[Document]:
    """Those of people."""
    found: list[Path] = []
    try:
        found = _files(folder, problems, may_lack=bool(texts))
    except ProblemsError as error:
        problems += error.problems
    documents = [
        read_document(file, inside=folder, text=texts.get(file))
        for file in sorted({*found, *texts})
    ]
    for document in documents:
        _join_keys(document)
    return documents


def _retired(folder: Path, problems: list[Problem]) -> list[RetiredEnrollment]:
    try:
        return load_retired(folder)
    except ProblemsError as error:
        problems += error.problems
        return []


def _shared(folder: Path, problems: list[Problem]) -> dict[str, SharedMachine]:
    """The shared machines by name."""
    place = folder / MACHINES
    if not os.path.lexists(place):
        return {}
    try:
        files = _files(place, problems, may_lack=True)
    except ProblemsError as error:
        problems += error.problems
        return {}
    found = {}
    for document in [read_document(file, inside=folder) for file in files]:
        try:
            check_machine_name(document.file.stem)
        except RefusedError as refused:
            problem = refused.problem
            document.add((), f"the file's name: {problem.what}", problem.mend)
        whole = _valid(SharedMachine, document)
        found[document.file.stem] = whole or sound_machine(document)
        problems += document.problems
    return found


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
    over = {entry.mark: entry for entry in retired}
    first: dict[tuple[str, str], Document] = {}
    for document in documents:
        _check_file_name(document)
        for location, kind, value in _unique_values(document):
            other = first.setdefault((kind, value), document)
            if other is not document:
                where = f"{other.file.name} has the same {kind}"
                document.add(location, f"{dotted(location)}: {where}", _SAME[kind])
        for location, value in _issued(document):
            of_it = marks(location, value) & over.keys()
            if location != ("enrollment",) and value == document.data.get("enrollment"):
                of_it -= {value}  # told of the enrollment itself
            for entry in [over[each] for each in of_it]:
                what = f"retired on {entry.date} ({entry.researcher}, {entry.reason})"
                _add_retired(document, location, what)


def _add_retired(document: Document, location: Location, what: str) -> None:
    """A fault of an id that is over, with the command that writes another."""
    command = ["rotate", document.file.stem]
    if location[0] == "authenticators":
        command += ["--device", str(location[1])]
    elif location[0] == "emergency_codes":
        command[0] = "codes"
    mend = shell_line(["./secondlock", *command, "--stack", document.file.parent.name])
    document.add(location, f"{dotted(location)}: {what}", mend)


def _issued(document: Document) -> Iterator[tuple[Location, str]]:
    """The ids of what is issued to the person, as far as they are texts.

    What the enrollment itself stands for, where no field says otherwise, is among them.
    """
    data = document.data
    enrollment, named = data.get("enrollment"), data.get("authenticators")
    if isinstance(enrollment, str):
        yield ("enrollment",), enrollment
        if not takes_codes(data.get("factors", DEFAULT)):
            return
        for location, value in parts(enrollment, None if named is None else {}, None).items():
            if location != ("emergency_codes",) or data.get("emergency_codes") is None:
                yield location, value
    for name, value in named.items() if isinstance(named, dict) else ():
        if isinstance(name, str) and isinstance(value, str):
            yield ("authenticators", name), value
    if isinstance(data.get("emergency_codes"), str):
        yield ("emergency_codes",), data["emergency_codes"]


_SAME = {
    "researcher": "one file for each researcher",
    "enrollment": f"each phone has its own: {MAKE_ENROLLMENT}",
    "oidc": "the provider knows one person by it: remove it from one of them",
    "SSH key": "a key is one person's: remove it from one of them",
}


def _unique_values(document: Document) -> Iterator[tuple[Location, str, str]]:
    researcher = document.data.get("researcher")
    if isinstance(researcher, str):
        yield ("researcher",), "researcher", researcher
    if isinstance(document.data.get("oidc"), str):
        yield ("oidc",), "oidc", document.data["oidc"]
    for location, value in _issued(document):
        if location == ("enrollment",) or value != document.data.get("enrollment"):
            yield location, "enrollment", value
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
