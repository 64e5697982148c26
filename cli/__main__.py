"""`secondlock`: the commands, and how faults reach a person."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer
from typer import TyperException

from cli import audit, doctor, enroll, init, machine, request, retire, ssh_config, status
from cli.aws import admin_policy, images
from cli.options import UnfitError, echo_json
from infra.model.problems import FaultError, Problem, ProblemsError, problem_of

PROBLEM, INTERRUPTED = 1, 130  # 2, for wrong usage, is typer's

app = typer.Typer(
    help="Enroll researchers, hand out logins and look after a Secondlock stack. `pulumi up` "
    "makes the machines; this does what pulumi does not.",
    epilog="Exit codes: 0 done, 1 something is wrong (the message names the mend), 2 wrong usage, "
    "130 interrupted. All commands take --json, which tells errors as JSON too.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("request")(request.request)
app.command("machine")(machine.machine)
app.command("enroll")(enroll.enroll)
app.command("rotate")(retire.rotate)
app.command("revoke")(retire.revoke)
app.command("codes")(retire.codes)
app.command("ssh-config")(ssh_config.ssh_config)
app.command("status")(status.status)
app.command("audit")(audit.audit)
app.command("doctor")(doctor.doctor)
app.command("admin-policy")(admin_policy.admin_policy)
app.add_typer(images.app, name="image")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code.

    Faults go to standard error, one line each; with --json as `problems` to standard output.
    """
    words = sys.argv[1:] if arguments is None else arguments
    fail = _fail_json if "--json" in words else _fail
    try:
        code = app(words or ["--help"], prog_name="secondlock", standalone_mode=False)
    except ProblemsError as error:
        return fail(error.told, PROBLEM)
    except TyperException as error:
        return fail([_usage(error)], error.exit_code)
    except BrokenPipeError:
        # The reader has gone; keep Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PROBLEM
    except (FaultError, OSError) as error:
        return fail([problem_of(error)], PROBLEM)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nobody meets a traceback; its text may be secret
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} in {place.filename}:{place.lineno}"
        fault = f"a fault of secondlock itself: {what}; please report it"
        return fail([Problem(None, None, fault)], PROBLEM)
    return code if isinstance(code, int) else 0


def _usage(error: TyperException) -> Problem:
    """Wrong usage as a person reads it: of a choice that there is none of Pydantic tells typer."""
    what = error.format_message().replace(": Value error, ", ": ").rstrip(".")
    context = getattr(error, "ctx", None)
    see = f"see: {context.command_path if context else 'secondlock'} --help"
    mend = error.problem.mend if isinstance(error, UnfitError) else None
    return Problem(None, None, what, mend or see)


def _fail(problems: Sequence[Problem], code: int) -> int:
    for problem in problems:
        typer.echo(f"secondlock: {problem}", err=True)
    return code


def _fail_json(problems: Sequence[Problem], code: int) -> int:
    """For programs: on standard output, where they read."""
    echo_json({"problems": [problem.document() for problem in problems]})
    return code


if __name__ == "__main__":
    sys.exit(main())
