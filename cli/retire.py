"""`secondlock rotate`, `revoke` and `codes`: what was issued ends, and is never used again."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import authenticators
from cli.options import (
    DeviceOption,
    JsonOption,
    ResearcherArgument,
    StackOption,
    echo_json,
    one_of,
)
from cli.project import Stack, check_researcher, choose_stack, command, pulumi, shown
from cli.retired import checked, request_of
from infra.files import write_whole
from infra.model.retired import DELETE

_BECOMES = {
    "keep": "stays, for when they come back: --home archive or delete does otherwise",
    "archive": "goes to /home/.archive, where root alone comes",
    "delete": "is deleted, which nothing undoes",
}


HomeOption = Annotated[
    str | None,
    typer.Option(
        "--home",
        metavar="keep|archive|delete",
        parser=one_of(_BECOMES),
        help="What becomes of their home on a shared machine: it stays there (the default), goes"
        " where root alone comes, or is deleted.",
        show_default=False,
    ),
]
EndSessionsOption = Annotated[
    bool,
    typer.Option(
        "--end-sessions", help="End this researcher's open sessions when `pulumi up` applies it."
    ),
]


def rotate(
    researcher: ResearcherArgument,
    stack: StackOption = None,
    device: DeviceOption = None,
    end_sessions: EndSessionsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a researcher a new enrollment: new QR, new emergency codes, the old ones refused.

    For a stolen key, or where all is lost; with --device for one lost phone, and the rest stays.
    Takes effect with `pulumi up`. Can be run again after an interruption.
    """
    chosen = choose_stack(stack)
    check_researcher(researcher)
    if device is not None:
        fresh, old = authenticators.renew(chosen, researcher, device, end_sessions=end_sessions)
    else:
        fresh, old = _renew(chosen, researcher, end_sessions=end_sessions)
    up = pulumi("up", stack=chosen)
    if as_json:
        document = {"stack": chosen.name, "researcher": researcher, "enrollment": fresh}
        of_device = {} if device is None else {"device": device}
        echo_json({**document, **of_device, "retired": old, "next": up})
        return
    what = "enrollment" if device is None else f"enrollment of {device}"
    file = shown(chosen.request(researcher))
    typer.echo(f"{researcher} has a new {what} in {file}; the old one is retired.")
    typer.echo(f"The machine still takes the old one until: {up}")
    options = [] if device is None else ["--device", device]
    typer.echo(f"Then show the new one: {command('enroll', researcher, *options, stack=chosen)}")


def _renew(stack: Stack, researcher: str, *, end_sessions: bool) -> tuple[str, str]:
    """The new enrollment of a researcher, and the old one. Raises ProblemsError."""
    with request_of(stack, researcher) as request:
        changes = authenticators.all_new(request)
        if end_sessions:
            changes["end_sessions"] = True
        text = checked(stack, researcher, request, changes)
        # The old one is retired first: cut off in between, the request is refused, not reused.
        authenticators.retire_all(stack, researcher, request, "rotated", {})
        write_whole(request.path, text.encode())
    return changes["enrollment"], request.enrollment


def revoke(
    researcher: ResearcherArgument,
    stack: StackOption = None,
    device: DeviceOption = None,
    end_sessions: EndSessionsOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a researcher: the request goes, and its enrollment never comes back.

    With --device one of their authenticators alone. Takes effect with `pulumi up`, which also
    removes a machine of their own, with its data; on a shared one --home says what becomes of their
    home. Can be run again after an interruption.
    """
    chosen = choose_stack(stack)
    check_researcher(researcher)
    if end_sessions and device is None:
        raise typer.BadParameter("goes with --device: who leaves has no session afterwards")
    if home is not None and device is not None:
        raise typer.BadParameter("says nothing of a device", param_hint="--home")
    if device is not None:
        old = authenticators.remove(chosen, researcher, device, end_sessions=end_sessions)
    else:
        old, said = _remove(chosen, researcher, home)
    up = pulumi("up", stack=chosen)
    if as_json:
        of_it = {"device": device} if device is not None else said
        document = {"stack": chosen.name, "researcher": researcher, **of_it}
        echo_json({**document, "retired": old, "next": up})
        return
    file = shown(chosen.request(researcher))
    if device is not None:
        typer.echo(f"Removed {device} from {file}; its enrollment is retired.")
        typer.echo(f"Its codes are good until: {up}")
        return
    typer.echo(f"Removed {file}; the enrollment is retired.")
    typer.echo(f"{researcher} can log in until: {up}")
    if "home" in said:
        typer.echo(f"On {said['machine']} their home {_BECOMES[said['home']]}.")
        return
    typer.echo(
        f"That removes {researcher}'s own machine and data; see first: "
        f"{pulumi('preview', stack=chosen)}"
    )


def _remove(stack: Stack, researcher: str, home: str | None) -> tuple[str, dict[str, str]]:
    """Retire all that a researcher has, and remove the request.

    The enrollment that is over, and what retired.yaml says of their data. Raises
    typer.BadParameter where a home is spoken of, and the machine is theirs.
    """
    with request_of(stack, researcher) as request:
        machine = request.data.get("machine")
        if isinstance(machine, str):
            said = {"machine": machine, "home": home or "keep"}
        elif home is not None:
            what = f"{researcher} has a machine of their own, whose data goes with it"
            raise typer.BadParameter(what, param_hint="--home")
        else:
            # The word without which `up` would keep from deleting it; see infra.record.
            said = {"data": DELETE}
        authenticators.retire_all(stack, researcher, request, "revoked", said)
        request.path.unlink()
    return request.enrollment, said


def codes(
    researcher: ResearcherArgument, stack: StackOption = None, as_json: JsonOption = False
) -> None:
    """Give a researcher five new emergency codes; the old ones die, phones stay.

    Takes effect with `pulumi up`. Can be run again after an interruption.
    """
    chosen = choose_stack(stack)
    check_researcher(researcher)
    fresh, old = authenticators.new_codes(chosen, researcher)
    up = pulumi("up", stack=chosen)
    if as_json:
        document = {"stack": chosen.name, "researcher": researcher, "emergency_codes": fresh}
        echo_json({**document, "retired": old, "next": up})
        return
    file = shown(chosen.request(researcher))
    typer.echo(f"{researcher} has five new emergency codes in {file}; the old ones are retired.")
    typer.echo(f"The machine still takes the old ones until: {up}")
    show = command("enroll", researcher, "--codes", stack=chosen)
    typer.echo(f"Then show the new ones: {show}")
