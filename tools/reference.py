"""docs/reference/reference.md, made of the code: `python -m tools.reference` writes it.

Fields and settings are those of the models, commands those of the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import EnumMeta
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer import core

from cli.__main__ import app
from infra.model.machine import MachineSize, SharedMachine
from infra.model.person import InstanceRequest
from infra.model.settings import AwsSettings, Settings
from tools.steps import ROOT

PAGE = ROOT / "docs" / "reference" / "reference.md"
_HEAD = """\
# Reference

Made of the code by `python -m tools.reference`; a test compares. How requests are written in
general: [stacks/README.md](../../stacks/README.md).
"""
_COMMANDS = """
## Commands

Every command takes `--json`, and all but `init` and `admin-policy` take `--stack`;
`./secondlock COMMAND --help` says the same as here.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | something is wrong: the message names what mends it; `--json` has it under `problems` |
| 2 | wrong usage |
| 130 | interrupted |
"""
_SEED = "| `enrollmentSeed` | needed | The one secret: `init` writes it, nobody ever by hand. |"


def text() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            "## A request: `stacks/STACK/RESEARCHER.yaml`\n",
            *_fields(InstanceRequest, set()),
            "\n## A machine of one's own: `machine:` in a request\n",
            *_fields(MachineSize, set()),
            "\n## A shared machine: `stacks/STACK/machines/NAME.yaml`\n",
            "The same, and:\n",
            *_fields(SharedMachine, {*MachineSize.model_fields}),
            "\n## Settings of a stack: `pulumi config set secondlock:NAME VALUE --stack STACK`\n",
            *_settings(Settings, {"stack"}),
            _SEED,
            "\nFor the target `aws`, beside `aws:region` and the rest of Pulumi's own settings:\n",
            *_settings(AwsSettings, {*Settings.model_fields} - {"tensorflow_image"}),
            _COMMANDS,
            *_commands(),
        ]
    )


def _fields(model: type[BaseModel], known: set[str]) -> Iterator[str]:
    yield "| field | default | meaning |\n|---|---|---|"
    for name, field in model.model_fields.items():
        if name not in known:
            yield f"| `{name}` | {_default(field)} | {_meaning(field)} |"


def _settings(model: type[Settings], known: set[str]) -> Iterator[str]:
    yield "| name | default | meaning |\n|---|---|---|"
    for name, field in model.model_fields.items():
        if name not in known:
            yield f"| `{field.alias}` | {_default(field)} | {_meaning(field)} |"


def _meaning(field: FieldInfo) -> str:
    """With the values that there are, where they can be counted."""
    choices: Any = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if isinstance(field.json_schema_extra, dict):
        choices = choices or field.json_schema_extra.get("enum", ())
    some = f" One of {', '.join(f'`{one}`' for one in choices)}." if choices else ""
    return _cell(field.description) + some


def _default(field: FieldInfo) -> str:
    """As it is written in a file."""
    if field.is_required():
        return "needed"
    value = field.default
    if value is None or value in ((), ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "see below" if isinstance(value, BaseModel) else f"`{value}`"


def _commands() -> Iterator[str]:
    root = typer.main.get_command(app)
    yield "\n\n".join(_told(f"./secondlock {name}", one) for name, one in _walk(root, ""))


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(command, core.TyperGroup):
        for below, one in command.commands.items():
            yield from _walk(one, f"{name} {below}".strip())
    else:
        yield name, command


def _told(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = " ".join([name, *(_shown(one) for one in arguments)])
    lines = [f"### `{usage}`", "", _paragraphs(command.help), ""]
    lines += ["| option | meaning |", "|---|---|"]
    lines += [f"| `{_cell(_flag(one))}` | {_cell(one.help)} |" for one in options]
    return "\n".join(lines)


def _shown(argument: Any) -> str:
    word = argument.metavar or argument.name.upper()
    return word if argument.required else f"[{word}]"


def _flag(option: Any) -> str:
    name = ", ".join(option.opts)
    if option.is_flag:
        return name
    kind = option.type_descriptor.annotation
    choices = [str(one.value) for one in list[Any](kind)] if isinstance(kind, EnumMeta) else []
    usual = getattr(option.default, "value", option.default) if option.show_default else None
    more = f" (default: {usual})" if isinstance(usual, str) and usual else ""
    return f"{name} {'|'.join(choices) or option.metavar or option.name.upper()}{more}"


def _paragraphs(help_text: str | None) -> str:
    parts = (help_text or "").strip().split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts)


def _cell(words: str | None) -> str:
    return " ".join((words or "").split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(text() + "\n", encoding="utf-8")
