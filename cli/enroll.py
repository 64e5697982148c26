"""`secondlock enroll`: show a researcher's second factor, or hand it over in a file."""

from __future__ import annotations

import secrets
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pyrage
import pyrage.passphrase
import typer

from cli.engine import Enrollment, enrollments, researcher_missing
from cli.files import write_new
from cli.options import JsonOption, ResearcherArgument, StackOption, echo_json, file_name
from cli.project import Stack, check_researcher, choose_stack, command, pulumi, shown
from cli.qr import qr_png, qr_terminal
from infra.model.problems import Problem, ProblemsError
from infra.model.reading import UnreadableError, read_text
from infra.model.retired import load_retired
from infra.model.text import shell_word

# Without what looks alike: 31 signs, so that 6 groups of 5 are 148 bits.
_CONFIG_BYTES = 16 * 1024 * 1024  # of an ssh_config; a thousand machines take 1.5 MiB
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
ForceOption = Annotated[
    bool, typer.Option("--force", help="Show it although the output is not a terminal.")
]


def enroll(
    researcher: ResearcherArgument,
    stack: StackOption = None,
    png: PngOption = None,
    seal: SealOption = None,
    show_uri: ShowUriOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a researcher's QR and five emergency codes: SECRETS, on your screen.

    With --seal nothing but a passphrase is shown. Into a pipe or file secrets go only with --json
    or --force; with --png the rest is then left out.
    """
    chosen = choose_stack(stack)
    check_researcher(researcher)
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
    if png is not None:
        write_new(png, qr_png(_scanned(researcher, enrollment)), mode=0o600, mend=_another("--png"))
    if seal is not None:
        _seal(chosen, researcher, enrollment, seal, png, as_json=as_json)
    elif as_json:
        echo_json(_document(chosen, researcher, enrollment, png))
    elif png is not None and not private:
        typer.echo(f"QR: {shown(png)}. The emergency codes are shown on a terminal, or by --json.")
    else:
        _show(chosen, researcher, enrollment, png, show_uri=show_uri)


def _check_current(stack: Stack, researcher: str, enrollment: Enrollment) -> None:
    """Refuse to show what `rotate` or `revoke` has ended. Raises ProblemsError."""
    if enrollment.enrollment in {each.enrollment for each in load_retired(stack.requests)}:
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


def _scanned(researcher: str, enrollment: Enrollment) -> str:
    """What the QR holds. Raises ProblemsError where nothing is scanned."""
    if enrollment.qr is None:
        what = f"{researcher} logs in without a phone: there is no QR"
        raise ProblemsError([Problem(None, None, what, "leave --png away")])
    return enrollment.qr


def _another(option: str) -> str:
    return f"{option} another file"


def _document(
    stack: Stack, researcher: str, enrollment: Enrollment, png: Path | None
) -> dict[str, Any]:
    document = {
        "stack": stack.name,
        "researcher": researcher,
        "machine": enrollment.machine,
        "factors": enrollment.factors,
        **enrollment.fields(),
        "ssh_host": f"{researcher}.{stack.name}",
    }
    return document if png is None else {**document, "png": png}


def _show(
    stack: Stack, researcher: str, enrollment: Enrollment, png: Path | None, *, show_uri: bool
) -> None:
    seen = None
    if png is not None:
        seen = f"QR: {shown(png)} (delete it after use)\n"
    elif enrollment.qr is not None:
        seen = qr_terminal(enrollment.qr)
        _check_screen(seen)
    typer.echo(f"{researcher} on machine {enrollment.machine} of stack {stack.name}\n")
    if seen is not None:
        typer.echo(seen)
    typer.echo(_facts(enrollment, show_uri=show_uri))
    config, host = stack.state / "ssh_config", f"{researcher}.{stack.name}"
    with suppress(FileNotFoundError, UnreadableError):
        if f"Host {host}\n" in read_text(config, limit=_CONFIG_BYTES):
            return
    typer.echo("Log in:")
    typer.echo(f"  {command('ssh-config', stack=stack)}")
    typer.echo(f"  ssh -F {shown(config)} {host}")


def _facts(enrollment: Enrollment, *, show_uri: bool) -> str:
    """What a person needs to know besides the QR, as numbered steps."""
    steps = enrollment.steps(in_words=show_uri)
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
    if enrollment.qr is not None:
        letter += f"{qr_terminal(enrollment.qr)}\n"
    letter += _facts(enrollment, show_uri=True)
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
