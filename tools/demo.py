"""The demo: a stack of its own with one researcher, made by plain `pulumi up` and `./secondlock`.

`python -m tools.demo up` (`make demo`) can be run again at any time, after a crash too;
`python -m tools.demo down` (`make demo-down`) leaves nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cli.engine import locks
from cli.keys import read_keys
from infra.files import HeldError, locked
from infra.local.host import sweep
from infra.model.problems import ProblemsError
from infra.model.ssh_keys import key_blob
from tools.steps import ROOT, StepError, exit_code, interrupts_reach_only_children

if TYPE_CHECKING:
    from collections.abc import Iterator

STACK = "demo"
RESEARCHER = "alice"
HOME = ROOT / ".secondlock" / STACK
BACKEND = HOME / "pulumi"
PASSPHRASE = HOME / "passphrase"
ENV = HOME / "env"
KEY = HOME / "id_ed25519"
REQUESTS = ROOT / "stacks" / STACK
REQUEST = REQUESTS / f"{RESEARCHER}.yaml"
CONFIG = ROOT / "stacks" / f"Pulumi.{STACK}.yaml"
HALF_WRITTEN_S = 10.0
MEND_LOST = "make demo-down demo (a new machine, a new enrollment)"


def environment() -> dict[str, str]:
    """What a new shell needs to go on with plain `pulumi`; the file `env` holds the same."""
    return {
        "SECONDLOCK_STACK": STACK,
        "PULUMI_BACKEND_URL": f"file://{BACKEND}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(PASSPHRASE),
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


def child_environment(fresh: bool = False) -> dict[str, str]:
    """The environment of every command here: nothing of another stack's gets in.

    `fresh`: of the one that makes what the others are told of.
    """
    foreign = {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_STACK", *environment()}
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return kept if fresh else {**kept, **environment()}


def run(*command: str | Path, quiet: bool = False, fresh: bool = False) -> None:
    """Run a command that talks to the person (`quiet`: only of faults). Raises StepError."""
    words = [str(word) for word in command]
    out = subprocess.DEVNULL if quiet else None
    with interrupts_reach_only_children():
        result = subprocess.run(
            words,
            cwd=ROOT,
            env=child_environment(fresh),
            stdin=subprocess.DEVNULL,
            stdout=out,
            check=False,
        )
    if result.returncode != 0:
        raise StepError(f"`{shlex.join(words)}` failed", "see the message above; then run it again")


def secondlock(command: str, *arguments: str, quiet: bool = False) -> None:
    """Run the project's own command line on the demo's stack. Raises StepError."""
    run(ROOT / "secondlock", command, *arguments, f"--stack={STACK}", quiet=quiet)


def ask(*command: str) -> str:
    """Run a command and return what it prints. Raises StepError with its message."""
    with interrupts_reach_only_children():
        result = subprocess.run(
            command,
            cwd=ROOT,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode == 0:
        return result.stdout
    full = "no space left on device" in result.stderr.lower()
    mend = "make room, then run the same command again" if full else "make demo-down"
    raise StepError(f"`{shlex.join(command)}` failed", mend, result.stderr.strip().splitlines())


def up(key: Path | None) -> None:
    """Make the demo, or bring it up to date."""
    check_key(key)
    check_passphrase()
    public_key = key or own_key()
    prepare_stack(public_key)
    recover()
    print("\nPulumi makes the machine (the first boot takes a minute or more):", flush=True)
    run("pulumi", "up", "--stack", STACK, "--yes", "--skip-preview", "--suppress-outputs")
    secondlock("ssh-config", quiet=True)
    # --force: whoever types `make demo` asks for the codes, also where a log takes the output.
    secondlock("enroll", RESEARCHER, "--force")
    print(next_step(public_key))


def check_key(key: Path | None) -> None:
    """Raises StepError for a key that is no file; what is in it the request's check tells."""
    if key and not key.is_file():
        raise StepError(f"KEY={key} is no file", "make demo KEY=~/.ssh/id_ed25519.pub")


def check_passphrase() -> None:
    """Raises StepError where state is there that nobody can read any more."""
    if PASSPHRASE.exists():
        return
    if (BACKEND / ".pulumi" / "stacks").exists():
        raise StepError(f"{PASSPHRASE} is lost, so the demo's state cannot be read", MEND_LOST)
    # Made for another passphrase, it cannot be read any more.
    CONFIG.unlink(missing_ok=True)


def own_key() -> Path:
    """The demo's own key pair, made on the first call."""
    public = KEY.with_name(f"{KEY.name}.pub")
    if not public.exists() or not public.stat().st_size:  # empty: there was no room for it
        HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
        KEY.unlink(missing_ok=True)
        comment = f"{RESEARCHER}@{STACK}"
        ask("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(KEY))
    return public


def prepare_stack(public_key: Path) -> None:
    """Stack, seed and request, by the command that people use for theirs."""
    clear_halves()
    there = REQUEST.exists()
    if there:
        tell_other_keys(public_key)
    words = [f"--researcher={RESEARCHER}", *([] if there else [f"--key={public_key}"])]
    run(ROOT / "secondlock", "init", STACK, *words, quiet=True, fresh=True)
    if not there:
        print(f"Request of {RESEARCHER}: {REQUEST.relative_to(ROOT)}", flush=True)


def tell_other_keys(public_key: Path) -> None:
    """The request stays as it is. Raises StepError for what is no public key."""
    try:
        known = {key_blob(key) for key in read_keys(public_key)}
    except ProblemsError as error:
        raise StepError(str(error.told[0]), "make demo KEY=FILE, with another public key") from None
    if not any(blob in REQUEST.read_text("utf-8", "replace") for blob in known):
        print(f"{REQUEST.relative_to(ROOT)} has other keys than {public_key}; it stays as it is.")


def recover() -> None:
    """Clear away what a killed `pulumi` left: its lock, and operations that never ended."""
    held = locks(BACKEND, STACK)
    for lock in held:
        gone = lock.hostname == socket.gethostname() and not runs_pulumi(lock.pid or 0)
        if not lock.is_damaged and not gone:
            what = f"pulumi works on this stack already ({lock})"
            raise StepError(what, "wait for it to end, then run the command again")
    if held:
        print("Pulumi was killed last time; cancelling its lock.", flush=True)
        ask("pulumi", "cancel", "--yes", "--stack", STACK)
    state = json.loads(ask("pulumi", "stack", "export", "--stack", STACK))
    if state["deployment"].get("pending_operations"):
        print("Clearing operations that were cut off.", flush=True)
        flags = ["--yes", "--skip-preview", "--clear-pending-creates", "--non-interactive"]
        ask("pulumi", "refresh", "--stack", STACK, *flags)


def clear_halves() -> None:
    """Remove the files that Pulumi began where there was no room: it takes them for locks."""
    for path in BACKEND.glob(".pulumi/**/*.tmp"):
        # A Pulumi that works here renames its own within a moment.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > HALF_WRITTEN_S:
                path.unlink()


def runs_pulumi(pid: int) -> bool:
    """Whether `pid` is a living Pulumi and not another program that got its number."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("pulumi")
    except (FileNotFoundError, ProcessLookupError):
        return False


def next_step(public_key: Path) -> str:
    """What to type now."""
    ssh = f"ssh -F {(HOME / 'ssh_config').relative_to(ROOT)}"
    private = public_key.with_suffix("")
    if public_key.suffix == ".pub" and private != KEY and private.is_file():
        ssh += f" -i {shlex.quote(str(private))}"
    return f"""
Now log in; the verification code is the six digits that the app shows:

    {ssh} {RESEARCHER}.{STACK}

and train something, or for a start:

    python -c "import tensorflow as tf; print(tf.__version__)"

Jupyter in your browser:  {ssh} {RESEARCHER}.{STACK}.jupyter
Go on with plain pulumi:  . {ENV.relative_to(ROOT)} && pulumi stack
Remove all of it:         make demo-down"""


def down(*, force: bool) -> None:
    """Destroy the demo and remove every file of it; fine when there is none.

    `force` does without Pulumi, for a state that cannot be read any more.
    """
    if not HOME.exists() and not REQUESTS.exists() and not CONFIG.exists():
        print("No demo here: nothing to remove.")
        return
    if not force:
        destroy()
    # What no state knows of: a run that was cut off before Pulumi began, or lost its passphrase.
    sweep(HOME)
    for folder in (HOME, REQUESTS):
        shutil.rmtree(folder, ignore_errors=True)
    CONFIG.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        HOME.parent.rmdir()
    print("The demo is gone: no process, no file, no resource is left.")


def destroy() -> None:
    """`pulumi destroy`, if there is anything. Raises StepError."""
    mend = "run it again, or without Pulumi: make demo-down FORCE=1"
    try:
        if not has_state():
            return
    except StepError as error:
        what = f"the demo's state cannot be read: {error.problem.what}"
        raise StepError(what, mend, error.said) from None
    recover()
    try:
        run("pulumi", "destroy", "--stack", STACK, "--yes", "--skip-preview", "--remove")
    except StepError:
        raise StepError("`pulumi destroy` failed; its message is above", mend) from None


def has_state() -> bool:
    """Whether Pulumi knows the stack and can still read it."""
    if not PASSPHRASE.exists() or not BACKEND.exists():
        return False
    clear_halves()
    stacks = json.loads(ask("pulumi", "stack", "ls", "--json"))
    return STACK in {stack["name"] for stack in stacks}


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one run at a time work on the demo. The lock leaves no file."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(ROOT / "stacks", patience=0))
        except HeldError as error:
            what = f"another `make demo` or `make demo-down` works here{error}"
            raise StepError(what, "wait for it to end, then run the command again") from None
        yield


def main() -> int:
    """Do what the command line says; 1 for a fault, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="make the demo")
    up_parser.add_argument("--key", type=Path, help="your public key (default: a new pair)")
    down_parser = commands.add_parser("down", help="remove it")
    down_parser.add_argument("--force", action="store_true", help="without Pulumi")
    options = parser.parse_args()

    def work() -> None:
        with alone():
            if options.command == "up":
                up(options.key.expanduser().absolute() if options.key else None)
            else:
                down(force=options.force)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
