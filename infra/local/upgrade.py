"""What is ours on a machine that lives, brought up to this checkout without ending a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.local.qemu import MachineError
from infra.model.reading import from_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.agent import GuestAgent


class LackingError(MachineError):
    """The machine's image lacks what the bundle needs: only a machine made anew has it."""


SECONDS = 300.0
"""For the whole of it; an emulated machine takes about ten."""


def upgrade(agent: GuestAgent, digest: str, back: bool, alive: Callable[[], bool]) -> None:
    """Have the machine run the bundle with this SHA-256, which is this checkout's.

    `back` allows one that it has gone on from before. Raises AgentError, of which AwayError where
    the machine restarted in the middle, and MachineError where it refuses and keeps what it had;
    LackingError where it always will.
    """
    from cloudinit.bundle import bundle
    from cloudinit.receive import receiver

    ours = bundle("local")
    if ours.digest != digest:
        raise MachineError("Secondlock's files changed after the plan was made")
    argv = ["/usr/bin/python3", "-I", "-c", receiver(), digest, *(["--back"] if back else [])]
    code, out, err = agent.run(argv, ours.data, SECONDS, alive)
    try:
        told = dict(from_json(out))
    except (ValueError, TypeError):
        said = " ".join(err.decode(errors="replace").split())[-300:]
        raise MachineError(f"its upgrade ended with code {code}: {said}") from None
    if told.get("error"):
        kind = LackingError if told.get("lacking") else MachineError
        raise kind(f"it keeps the programs that it had: {told['error']}")
