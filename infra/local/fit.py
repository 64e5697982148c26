"""What this computer cannot do for a whole plan, beside what `infra.local.checks` finds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.host import Place, home, strays
from infra.model.problems import Problem
from infra.record import may_delete, say_delete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.plan import Plan


def problems(plan: Plan, root: Path = Path()) -> list[Problem]:
    """Data that would be deleted unasked; the project is in `root`."""
    return list(_nobodys_data(plan, root))


def _nobodys_data(plan: Plan, root: Path) -> Iterator[Problem]:
    """Data that no request asks for, and of which nobody said that it shall go.

    The stack's state would refuse too, if it knows of it: another backend's does not.
    """
    place = home(plan.settings.stack)
    for name in strays(root / place, [machine.name for machine in plan.machines]):
        there = Place(root / place, name)
        if any(there.data.glob("*.img")) and not may_delete(plan, name, str(place), there.sent()):
            what = "holds data that would be deleted: no request asks for it, and nobody said so"
            mend = f"git pull; if it shall go: {say_delete(plan, name, str(place))}"
            yield Problem(there.data, None, what, mend)
