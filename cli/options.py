"""Options that every command has, and the one way to say something as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.model.problems import Problem
from infra.model.text import brief

StackOption = Annotated[
    str | None,
    typer.Option(
        "--stack",
        "-s",
        metavar="STACK",
        help="The Pulumi stack. Default: $SECONDLOCK_STACK, else the only one here, else demo.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Say it as JSON, for programs.")]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="One authenticator of theirs alone: a phone, a tablet, a token.",
        show_default=False,
    ),
]
ResearcherArgument = Annotated[
    str, typer.Argument(metavar="RESEARCHER", help="The person's user name.", show_default=False)
]


class UnfitError(typer.BadParameter):
    """A value of the command line that is refused: the `problem`, told with its option."""

    def __init__(self, problem: Problem, option: str) -> None:
        super().__init__(problem.what, param_hint=option)
        self.problem = problem


def one_of(words: Collection[str]) -> Callable[[str], str]:
    """A parser of one of these words. It raises typer.BadParameter for another."""

    def parse(text: str) -> str:
        if text not in words:
            raise typer.BadParameter(f"'{brief(text)}' is not one of {', '.join(map(repr, words))}")
        return text

    return parse


def file_name(text: str) -> Path:
    """A path that was typed. Raises typer.BadParameter for none: to Path that is the folder."""
    if not text:
        raise typer.BadParameter("a file's name is missing")
    return Path(text)


def echo_json(document: dict[str, Any]) -> None:
    """Print `document` for programs."""
    typer.echo(json.dumps(document, indent=2, default=str))
