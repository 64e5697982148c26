"""`secondlock machine`: the first version of a shared machine's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cli import targets
from cli.files import write_new
from cli.options import JsonOption, StackOption, UnfitError, echo_json
from cli.project import Stack, choose_stack, command, shown
from cli.request import TypeOption
from infra.model.explain import validate
from infra.model.folder import MACHINES
from infra.model.machine import SharedMachine
from infra.model.names import check_machine_name
from infra.model.problems import ProblemsError, RefusedError
from infra.model.yaml_lines import read_document

_TEMPLATE = """\
# yaml-language-server: $schema=../../machine.schema.json
# A machine that researchers share; a request joins it by `machine: {name}`.

# For how many people it is. Of what is not said below, each may take an equal part.
seats: {seats}

{size}

# What each may take of it, where it is not an equal part; and who may take something else.
# share: {{memory_gib: 8, cpus: 4, home_gib: 50, gpus: 1}}
# members:
#   alice: {{memory_gib: 16}}
"""

NameArgument = Annotated[
    str, typer.Argument(metavar="MACHINE", help="The machine's name.", show_default=False)
]
SeatsOption = Annotated[
    int,
    typer.Option(
        "--seats", metavar="N", min=1, max=200, help="For how many people.", show_default=False
    ),
]
CpusOption = Annotated[
    int | None, typer.Option("--cpus", help="Virtual CPUs, on target local.", show_default=False)
]
MemoryOption = Annotated[
    int | None,
    typer.Option("--memory-gib", help="Memory in GiB, on target local.", show_default=False),
]
HomeOption = Annotated[
    int | None,
    typer.Option("--home-disk-gib", help="The disk of all homes, in GiB.", show_default=False),
]


def machine(
    name: NameArgument,
    seats: SeatsOption,
    stack: StackOption = None,
    cpus: CpusOption = None,
    memory_gib: MemoryOption = None,
    home_disk_gib: HomeOption = None,
    instance_type: TypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a first file of a machine that several share: stacks/STACK/machines/MACHINE.yaml.

    Who is to log in there is asked for by `secondlock request RESEARCHER --machine MACHINE`.
    """
    chosen = choose_stack(stack)
    try:
        check_machine_name(name)
    except RefusedError as refused:
        raise UnfitError(refused.problem, "MACHINE") from None
    given = {"cpus": cpus, "memory_gib": memory_gib, "home_disk_gib": home_disk_gib}
    fields = {**given, "instance_type": instance_type}
    path = _write(chosen, name, seats, {key: one for key, one in fields.items() if one is not None})
    join = command("request", "RESEARCHER", "--machine", name, stack=chosen)
    if as_json:
        echo_json({"stack": chosen.name, "machine": name, "file": path, "next": join})
        return
    typer.echo(f"Wrote {shown(path)}")
    typer.echo(f"Next: read it, then for each who shall log in there: {join}")


def _write(stack: Stack, name: str, seats: int, asked: Mapping[str, object]) -> Path:
    """The file. Raises ProblemsError where there is one, or where something in it is wrong."""
    size = targets.target_of(stack.target()).shared_machine(stack, asked)
    text = _TEMPLATE.format(name=name, seats=seats, size=size)
    path = stack.requests / MACHINES / f"{name}.yaml"
    document = read_document(path, inside=path.parent, text=text)
    if validate(SharedMachine, document) is None:
        raise ProblemsError(document.problems)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_new(path, text.encode(), mode=0o644, mend=f"edit {shown(path)}")
    return path
