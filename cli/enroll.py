"""`secondlock enroll`: show a researcher's second factor, or hand it over in a file."""

from __future__ import annotations

import secrets
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pyrage
import pyrage.passphrase
import typer

from cli import authenticators
from cli.engine import Enrollment, enrollments, machines, researcher_missing
from cli.files import write_new
from cli.options import (
    DeviceOption,
    JsonOption,
    ResearcherArgument,
    StackOption,
    echo_json,
    file_name,
)
from cli.project import Stack, check_researcher, choose_stack, command, pulumi, shown
from cli.qr import qr_png, qr_terminal
from infra.files import write_whole
from infra.model.authenticators import marks, parts
from infra.model.problems import Problem, ProblemsError
from infra.model.reading import UnreadableError, read_text
from infra.model.retired import load_retired
from infra.model.text import shell_word, visible
from infra.model.yaml_lines import Location
from infra.ssh_file import MOST_BYTES

# Without what looks alike: 31 signs, so that 6 groups of 5 are 148 bits.
_SIGNS = "abcdefghjkmnpqrstuvwxyz23456789"

PngOption = Annotated[
    Path | None,
    typer.Option(
        "--png",
        metavar="FILE",
        parser=file_name,
        help="Write the QR as a picture (0600) instead of showing it. Never overwrites.",
        show_default=False,
    ),
]
SealOption = Annotated[
    Path | None,
    typer.Option(
        "--seal",
        metavar="FILE",
        parser=file_name,
        help="Write everything for the researcher, encrypted (age), and show only a passphrase "
        "to tell them another way. They open it with: age -d FILE",
        show_default=False,
    ),
]
ShowUriOption = Annotated[
    bool,
    typer.Option("--show-uri", help="Show the otpauth URI too, to type what cannot be scanned."),
]
CodesOption = Annotated[
    bool, typer.Option("--codes", help="Show the emergency codes alone, as after new ones.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Show it although the output is not a terminal.")
]


@dataclass(frozen=True)
class _View:
    """What of an enrollment is shown. Secret."""

    qrs: dict[str, str] = field(repr=False)
    """What each QR holds, by authenticator."""
    steps: list[str] = field(repr=False)
    """What the person does; in words what no QR is needed for."""
    spelt: list[str] = field(repr=False)
    """The same with what the QRs hold."""
    fields: dict[str, Any] = field(repr=False)
    """For programs."""


def enroll(
    researcher: ResearcherArgument,
    stack: StackOption = None,
    device: DeviceOption = None,
    codes: CodesOption = False,
    png: PngOption = None,
    seal: SealOption = None,
    show_uri: ShowUriOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a researcher's QR and five emergency codes: SECRETS, on your screen.

    With --seal nothing but a passphrase is shown. Into a pipe or file secrets go only with --json
    or --force; with --png the rest is then left out. --device NAME shows one authenticator alone,
    and writes a new one into the request where there is none of this name.
    """
    chosen = choose_stack(stack)
    check_researcher(researcher)
    if codes and (device or png):
        what = "shows the emergency codes alone: leave --device and --png away"
        raise typer.BadParameter(what, param_hint="--codes")
    if device is not None and _added(chosen, researcher, device, as_json=as_json):
        return
    private = force or sys.stdout.isatty()
    if not (png or seal or as_json or private):
        raise typer.BadParameter(
            "the output is no terminal and this shows secrets; "
            "use --png FILE, --seal FILE, --json, or --force if you mean it",
            param_hint="enroll",
        )
    for path in (png, seal):
        _check_new(path)
    everybody = enrollments(chosen)
    if researcher not in everybody:
        raise researcher_missing(chosen, researcher, list(everybody))
    enrollment = everybody[researcher]
    _check_current(chosen, researcher, enrollment)
    view = _view(chosen, researcher, enrollment, device, codes=codes)
    if png is not None:
        write_new(png, qr_png(_scanned(researcher, view)), mode=0o600, mend=_another("--png"))
    if seal is not None:
        _seal(chosen, researcher, enrollment, view, seal, png, as_json=as_json)
    elif as_json:
        echo_json(_document(chosen, researcher, enrollment, view, png))
    elif png is not None and not private:
        rest = "" if device else " The emergency codes are shown on a terminal, or by --json."
        typer.echo(f"QR: {shown(png)}.{rest}")
    else:
        _show(chosen, researcher, enrollment, view, png, show_uri=show_uri)


def _added(stack: Stack, researcher: str, device: str, *, as_json: bool) -> bool:
    """Whether this authenticator was not in the request, and is now. Raises ProblemsError."""
    if not stack.request(researcher).is_file() or not authenticators.add(stack, researcher, device):
        return False
    up, again = pulumi("up", stack=stack), _again(stack, researcher, device)
    file = stack.request(researcher)
    if as_json:
        document = {"stack": stack.name, "researcher": researcher, "device": device}
        echo_json({**document, "added": True, "next": [up, again]})
        return True
    typer.echo(f"{researcher} has a further authenticator, {device}, in {shown(file)}.")
    typer.echo(f"Bring it to the machine: {up}")
    typer.echo(f"Then show it: {again}")
    return True


def _again(stack: Stack, researcher: str, device: str) -> str:
    return command("enroll", researcher, "--device", device, stack=stack)


def _view(
    stack: Stack, researcher: str, enrollment: Enrollment, device: str | None, *, codes: bool
) -> _View:
    """What is to be shown. Raises ProblemsError where there is no such thing."""
    qrs, fields = enrollment.scanned(), enrollment.fields()
    if codes:
        if "emergency_codes" not in fields:
            what = f"{researcher} logs in without codes"
            raise ProblemsError([Problem(None, None, what, "leave --codes away")])
        step = enrollment.emergency_step()
        only = {name: fields[name] for name in fields if name == "emergency_codes"}
        return _View({}, [step], [step], only)
    if device is None:
        in_words = enrollment.steps(in_words=True)
        return _View(qrs, enrollment.steps(in_words=False), in_words, fields)
    if device not in qrs:
        what = f"the stack has no authenticator {device} of {researcher} yet"
        raise ProblemsError([Problem(None, None, what, pulumi("up", stack=stack))])
    scan = f"Scan the QR with {device}: any authenticator app. A YubiKey takes it by Yubico's."
    words = f"{scan}\n   Or give it this address:\n   {qrs[device]}"
    return _View({device: qrs[device]}, [scan], [words], {"device": device, "uri": qrs[device]})


def _check_current(stack: Stack, researcher: str, enrollment: Enrollment) -> None:
    """Refuse to show what `rotate`, `revoke` or `codes` has ended. Raises ProblemsError."""
    fields = enrollment.fields()
    named = fields.get("authenticators")
    ids = {name: each["enrollment"] for name, each in named.items()} if named else None
    of_codes = fields.get("codes_enrollment")
    here: dict[Location, str] = {("enrollment",): enrollment.enrollment}
    if enrollment.scanned():
        here.update(parts(enrollment.enrollment, ids, of_codes))
    over = {each.mark for each in load_retired(stack.requests)}
    if any(marks(place, issued) & over for place, issued in here.items()):
        what = f"the stack still has an enrollment of {researcher} that is retired"
        raise ProblemsError([Problem(None, None, what, pulumi("up", stack=stack))])


def _check_new(path: Path | None) -> None:
    """Refuse a file that is there before any other is written. Raises ProblemsError."""
    if path is None:
        return
    if path.is_symlink() or path.exists():
        what = "is already there and is not overwritten"
        raise ProblemsError([Problem(path, None, what, "name another file")])
    if not path.parent.is_dir():
        mend = f"mkdir -p {shell_word(str(path.parent))}"
        raise ProblemsError([Problem(path, None, "its folder is not there", mend)])


def _scanned(researcher: str, view: _View) -> str:
    """What the one QR holds. Raises ProblemsError where there are none, or several."""
    if not view.qrs:
        what = f"{researcher} logs in without a phone: there is no QR"
        raise ProblemsError([Problem(None, None, what, "leave --png away")])
    if len(view.qrs) > 1:
        what = f"{researcher} has several authenticators: {', '.join(view.qrs)}"
        raise ProblemsError([Problem(None, None, what, "--device NAME, a picture each")])
    return next(iter(view.qrs.values()))


def _another(option: str) -> str:
    return f"{option} another file"


def _document(
    stack: Stack, researcher: str, enrollment: Enrollment, view: _View, png: Path | None
) -> dict[str, Any]:
    document = {
        "stack": stack.name,
        "researcher": researcher,
        "machine": enrollment.machine,
        "factors": enrollment.factors,
        **view.fields,
    }
    if "ssh" in enrollment.access:
        document["ssh_host"] = f"{researcher}.{stack.name}"
    if enrollment.web is not None:
        document["web"] = {
            "address": _address(stack, enrollment),
            **enrollment.web.model_dump(include={"authority", "provider"}, exclude_none=True),
        }
    return document if png is None else {**document, "png": png}


def _show(
    stack: Stack,
    researcher: str,
    enrollment: Enrollment,
    view: _View,
    png: Path | None,
    *,
    show_uri: bool,
) -> None:
    seen = []
    if png is not None:
        seen.append(f"QR: {shown(png)} (delete it after use)\n")
    else:
        seen += _drawn(view)
        for qr in seen:
            _check_screen(qr)
    typer.echo(f"{researcher} on machine {enrollment.machine} of stack {stack.name}\n")
    for qr in seen:
        typer.echo(qr)
    typer.echo(_numbered(view.spelt if show_uri else view.steps))
    if enrollment.web is not None:
        typer.echo(_in_a_browser(stack, enrollment))
        if enrollment.web.authority is not None:
            file = _authority_file(stack)
            write_whole(file, enrollment.web.authority.encode())
            typer.echo(f"Have it trust {shown(file)} first: docs/how-to/jupyter-in-a-browser.md")
    if "ssh" not in enrollment.access:
        return
    config, host = stack.state / "ssh_config", f"{researcher}.{stack.name}"
    with suppress(FileNotFoundError, UnreadableError):
        if f"Host {host}\n" in read_text(config, limit=MOST_BYTES):
            return
    typer.echo("Log in:")
    typer.echo(f"  {command('ssh-config', stack=stack)}")
    typer.echo(f"  ssh -F {shown(config)} {host}")


def _address(stack: Stack, enrollment: Enrollment) -> str:
    """Where a browser finds the person's Jupyter, if the machine says by which port."""
    machine = machines(stack).get(enrollment.machine)
    port = None if machine is None else machine.web_port
    host = "" if enrollment.web is None else enrollment.web.host
    return f"https://{host}/" if port in (None, 443) else f"https://{host}:{port}/"


def _in_a_browser(stack: Stack, enrollment: Enrollment) -> str:
    provider = None if enrollment.web is None else enrollment.web.provider
    by = "" if provider is None else f", where {visible(provider)} vouches for you"
    return f"In a browser: {_address(stack, enrollment)}{by}"


def _authority_file(stack: Stack) -> Path:
    """The certificate of who vouches for the stack's machines; no secret."""
    return stack.state / f"{stack.name}-authority.pem"


def _drawn(view: _View) -> list[str]:
    """The QRs for a terminal, each with a name above it where there are several."""
    alone = len(view.qrs) == 1
    return [
        qr_terminal(text) if alone else f"{name}:\n{qr_terminal(text)}"
        for name, text in view.qrs.items()
    ]


def _numbered(steps: list[str]) -> str:
    """What a person needs to know besides the QR."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)) + "\n"


def _check_screen(qr: str) -> None:
    """Raise ProblemsError when the QR would not be readable on this terminal."""
    mend = "--png FILE or --seal FILE instead"
    encoding = sys.stdout.encoding or "ascii"
    try:
        qr.encode(encoding)
    except UnicodeEncodeError:
        what = f"a terminal in {encoding} cannot show the QR"
        raise ProblemsError(
            [Problem(None, None, what, f"export LC_ALL=C.UTF-8, or {mend}")]
        ) from None
    need = max(sum(sign in " ▀▄█" for sign in line) for line in qr.splitlines())
    have = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and have < need:
        what = f"the QR needs a terminal {need} columns wide, this one has {have}"
        raise ProblemsError([Problem(None, None, what, f"widen it, or {mend}")])


def _seal(
    stack: Stack,
    researcher: str,
    enrollment: Enrollment,
    view: _View,
    path: Path,
    png: Path | None,
    *,
    as_json: bool,
) -> None:
    """Write the sealed file and tell its passphrase, the only secret that is shown."""
    passphrase = "-".join("".join(secrets.choice(_SIGNS) for _ in range(5)) for _ in range(6))
    letter = (
        f"{researcher}: your second factor for {enrollment.machine} of {stack.name}.\n"
        "Whoever reads this can use it. Do not keep it in the clear.\n\n"
    )
    letter += "".join(f"{qr}\n" for qr in _drawn(view))
    letter += _numbered(view.spelt)
    if enrollment.web is not None:
        letter += f"\n{_in_a_browser(stack, enrollment)}\n"
        if enrollment.web.authority is not None:
            letter += f"It has to trust this certificate:\n{enrollment.web.authority}"
    sealed = pyrage.passphrase.encrypt(letter.encode(), passphrase, armored=True)
    write_new(path, sealed, mode=0o600, mend=_another("--seal"))
    if as_json:
        document: dict[str, Any] = {
            "stack": stack.name,
            "researcher": researcher,
            "sealed": path,
            "passphrase": passphrase,
            "open_with": f"age -d {path.name}",
        }
        echo_json(document if png is None else {**document, "png": png})
        return
    typer.echo(f"Sealed in {shown(path)}: send it to {researcher}.")
    typer.echo("Tell them the passphrase another way (a call, on paper). It is not shown again:")
    typer.echo(f"  {passphrase}")
    typer.echo(f"They open it in a terminal, which shows the QR: age -d {path.name}")
