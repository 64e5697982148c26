"""What Secondlock's own resources have in common: the dynamic providers of both targets.

Each lives in an importable module, so that the state holds a reference to it and no pickled code.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # comes with pulumi
from pulumi import dynamic
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from infra.model.problems import Problem, ProblemsError
from infra.model.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Props = dict[str, Any]
"""A resource's properties as the engine hands them over: every number is a float."""

PROGRESS_SECONDS = 5.0  # each is a line of its own where the output is no terminal

_watching = threading.Lock()


class ProviderError(ProblemsError):
    """Faults in an operation: the engine prints the class's name and `str()`.

    Every one of them: they are told once. `said` is the last words of what failed.
    """

    __module__ = "builtins"  # so that the name is printed without a path of modules

    def __init__(self, *problems: Problem, said: str = "") -> None:
        super().__init__(problems)
        self._said = said

    def __str__(self) -> str:
        return "\n".join([*map(str, self.problems), *map(visible, self._said.splitlines())])


class QuietProvider(dynamic.ResourceProvider):
    """A provider whose faults are sentences and whose process ends with the engine's."""

    config: dynamic.Config
    """The stack's whole configuration, secrets decrypted."""

    # The pickled provider is a reference to an importable class and says nothing.
    serialize_as_secret_always = False

    def configure(self, req: dynamic.ConfigureRequest) -> None:
        """Called once in the provider's process."""
        self.config = req.config
        sys.tracebacklimit = 0
        if _watching.acquire(blocking=False):
            threading.Thread(target=_end_with_engine, daemon=True).start()


class Voice:
    """Lines that Pulumi shows beside the resource `urn` while its operation runs."""

    def __init__(self, urn: str) -> None:
        self._urn = urn
        # The engine gives each plugin its address as the only argument.
        self._channel = grpc.insecure_channel(sys.argv[-1])

    def status(self, message: str) -> None:
        """What is going on now: replaced by the next line, not kept."""
        self._log(message, ephemeral=True)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show `what` and the time it takes until the block is done."""
        done = threading.Event()
        started = time.monotonic()

        def tick() -> None:
            while True:
                self.status(f"{what} ({time.monotonic() - started:.0f} s)")
                if done.wait(PROGRESS_SECONDS):
                    return

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()

    def info(self, message: str) -> None:
        """Something to read when all is over."""
        self._log(message, ephemeral=False)

    def _log(self, message: str, *, ephemeral: bool) -> None:
        request = engine_pb2.LogRequest(
            severity=engine_pb2.INFO, message=message, urn=self._urn, ephemeral=ephemeral
        )
        try:
            engine_pb2_grpc.EngineStub(self._channel).Log(request, timeout=5)
        except grpc.RpcError:
            return  # progress is a courtesy: no operation fails for want of it


def changed(olds: Mapping[str, Any], news: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Which of the properties `names` differ."""
    return [name for name in names if olds.get(name) != news.get(name)]


def _end_with_engine() -> None:
    """End this process when the engine was killed: it would go on making what nobody records.

    The engine holds the reading end of our stdout; poll(2) reports POLLERR once it is closed.
    """
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    poll.poll()
    os._exit(1)
