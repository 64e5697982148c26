"""What every set-up step needs: one line that says how far it is, a lock, files that appear whole.

Python's standard library only: this runs before the project's own environment exists.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from infra import files
from infra.model.problems import FaultError, problem_of
from infra.model.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"

TAIL_LINES = 15
QUIET_INTERVAL_S = 30.0
TERMINAL_INTERVAL_S = 1.0


class StepError(FaultError):
    """A step failed: what is wrong, what helps, and what the failed program `said` last."""

    def __init__(self, what: str, mend: str, said: Sequence[str] = ()) -> None:
        super().__init__(what, mend)
        self.said = said

    def __str__(self) -> str:
        what = f"{self.problem.what}:" if self.said else self.problem.what
        said = (f"    {visible(line)}" for line in self.said)
        return "\n".join([what, *said, f"  To mend it: {self.problem.mend}"])


def _elapsed(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@dataclass
class Step:
    """The line of one step: `[2/4] uv 0.13.9: installing ... 0:03`.

    On a terminal the line is rewritten each second; elsewhere one more line comes every 30 s.
    """

    title: str
    started: float = field(default_factory=time.monotonic)

    def done(self, word: str = "done") -> None:
        """End the line with `word` and, when it took a while, the time it took."""
        took = time.monotonic() - self.started
        suffix = f" ({_elapsed(took)})" if took >= QUIET_INTERVAL_S else ""
        self._write(f"{self.title}: {word}{suffix}", end="\n")

    @contextlib.contextmanager
    def heartbeat(self, detail: str | Callable[[], str]) -> Iterator[None]:
        """Show `detail` with the time elapsed for as long as the block runs."""
        describe = detail if callable(detail) else lambda: detail
        stop = threading.Event()
        beat = threading.Thread(target=self._beat, args=(describe, stop), daemon=True)
        self._show(describe())
        beat.start()
        try:
            yield
        finally:
            stop.set()
            beat.join()
            if sys.stdout.isatty():
                self._write("", end="")

    def _beat(self, describe: Callable[[], str], stop: threading.Event) -> None:
        interval = TERMINAL_INTERVAL_S if sys.stdout.isatty() else QUIET_INTERVAL_S
        while not stop.wait(interval):
            self._show(describe())

    def _show(self, detail: str) -> None:
        took = time.monotonic() - self.started
        end = "" if sys.stdout.isatty() else "\n"
        self._write(f"{self.title}: {detail} ... {_elapsed(took)}", end=end)

    def _write(self, text: str, end: str) -> None:
        if not sys.stdout.isatty():
            print(text, end=end, flush=True)
            return
        # A line that wraps could not be rewritten.
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{text[:width] if not end else text}", end=end, flush=True)


def exit_code(work: Callable[[], object]) -> int:
    """Do a command's work; 1 when a step failed, 130 when interrupted, as shells say."""
    try:
        work()
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except OSError as error:
        mend = "make that possible, then run the same command again"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "make room, then run the same command again"
        problem = problem_of(error)
        print(f"\n{StepError(problem.place + problem.what, mend)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again: it goes on from here.", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def interrupts_reach_only_children() -> Iterator[None]:
    """Let Ctrl-C end the running command, which tidies up; Python then only reports it.

    Raises KeyboardInterrupt after the block when one came.
    """
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt


def run_logged(
    command: Sequence[str | Path],
    *,
    what: str,
    mend: str,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> list[str]:
    """Run `command` quietly and return the lines that it printed, messages included.

    `on_line` is called with each as it comes. Raises StepError with the last lines on failure.
    """
    lines: list[str] = []
    with (
        interrupts_reach_only_children(),
        subprocess.Popen(
            [str(word) for word in command],
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            lines.append(line.rstrip())
            if on_line:
                on_line(lines[-1])
    if process.returncode == 0:
        return lines
    raise StepError(f"{what} (exit code {process.returncode})", mend, lines[-TAIL_LINES:])


def uv_run(uv: Path, *arguments: str | Path, mend: str) -> None:
    """Run uv quietly, with this computer's certificates. Raises StepError."""
    env = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NO_PROGRESS": "1"}
    run_logged([uv, *arguments], what="uv failed", mend=mend, env=env)


def uv_install(uv: Path, where: Sequence[str], requirements: Path, *, mend: str) -> None:
    """Install the packages that `requirements` pins, each held to its hash. Raises StepError."""
    flags = ["--quiet", "--require-hashes", f"--requirement={requirements}"]
    uv_run(uv, "pip", "install", *flags, *where, mend=mend)


@contextlib.contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`; say `waiting` when another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.locked(path, on_wait=lambda _: print(waiting, flush=True)):
        yield


@contextlib.contextmanager
def appears_whole(target: Path) -> Iterator[Path]:
    """Give a new folder to fill; it becomes `target` when the block ends well, else it goes.

    The caller holds a lock: what a killed run left is removed first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{target.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield part
        shutil.rmtree(target, ignore_errors=True)
        # mkdtemp makes 0700; a cache of public programs may be read by all.
        part.chmod(0o755)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
