"""`secondlock rotate`, `revoke` and `codes`: what was issued ends, and is never used again."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import authenticators
from cli.files import replace
from cli.options import DeviceOption, JsonOption, ResearcherArgument, StackOption, echo_json
from cli.project import Stack, check_researcher, choose_stack, command, pulumi, shown
from cli.retired import checked, request_of

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
        authenticators.retire_all(stack, researcher, request, "rotated", with_data=False)
        replace(request.path, text.encode())
    return changes["enrollment"], request.enrollment


def revoke(
    researcher: ResearcherArgument,
    stack: StackOption = None,
    device: DeviceOption = None,
    end_sessions: EndSessionsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a researcher: the request goes, and its enrollment never comes back.

    With --device one of their authenticators alone. Takes effect with `pulumi up`, which also
    removes a machine of their own, with its data. Can be run again after an interruption.
    """
    chosen = choose_stack(stack)
    check_researcher(researcher)
    if end_sessions and device is None:
        raise typer.BadParameter("goes with --device: who leaves has no session afterwards")
    if device is not None:
        old = authenticators.remove(chosen, researcher, device, end_sessions=end_sessions)
    else:
        old, shared = _remove(chosen, researcher)
    up = pulumi("up", stack=chosen)
    if as_json:
        of_device = {} if device is None else {"device": device}
        document = {"stack": chosen.name, "researcher": researcher, **of_device}
        echo_json({**document, "retired": old, "next": up})
        return
    file = shown(chosen.request(researcher))
    if device is not None:
        typer.echo(f"Removed {device} from {file}; its enrollment is retired.")
        typer.echo(f"Its codes are good until: {up}")
        return
    typer.echo(f"Removed {file}; the enrollment is retired.")
    typer.echo(f"{researcher} can log in until: {up}")
    if not shared:
        typer.echo(
            f"That removes {researcher}'s own machine and data; see first: "
            f"{pulumi('preview', stack=chosen)}"
        )


def _remove(stack: Stack, researcher: str) -> tuple[str, bool]:
    """Retire all that a researcher has, and remove the request.

    The enrollment that is over, and whether the machine is shared: its data is not theirs alone.
    """
    with request_of(stack, researcher) as request:
        shared = isinstance(request.data.get("machine"), str)
        authenticators.retire_all(stack, researcher, request, "revoked", with_data=not shared)
        request.path.unlink()
    return request.enrollment, shared


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
