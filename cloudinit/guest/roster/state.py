"""What the machine remembers on its state volume: serial, uids, enrollments, retired ids."""

import json
from dataclasses import dataclass, field

from guest import paths
from guest.system import GuestError, write

FIRST_UID = 20001


@dataclass
class State:
    """`uids` is never pruned, so that a uid is never given to another person.

    `others` are, by name, the ids of what was issued apart from the enrollment.
    """

    serial: int = 0
    uids: dict[str, int] = field(default_factory=dict)
    enrollments: dict[str, str] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)
    modified: float = 0
    others: dict[str, list[str]] = field(default_factory=dict)

    def uid(self, name: str) -> int:
        """The researcher's uid, allotted at the first call."""
        if name not in self.uids:
            self.uids[name] = max(self.uids.values(), default=FIRST_UID - 1) + 1
        return self.uids[name]


def load() -> State:
    """Read the state; a volume without one is new.

    Raises GuestError when it is there and does not parse: then nobody guesses.
    """
    if not paths.STATE_FILE.exists():
        return State()
    try:
        raw = json.loads(paths.STATE_FILE.read_text())
        return State(
            raw["serial"],
            raw["uids"],
            raw["enrollments"],
            set(raw["retired"]),
            raw.get("modified", 0),
            raw.get("others", {}),
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise GuestError(f"{paths.STATE_FILE} is damaged; restore the state volume") from None


def save(state: State) -> None:
    """Write the state by rename."""
    raw = {
        "serial": state.serial,
        "uids": state.uids,
        "enrollments": state.enrollments,
        "retired": sorted(state.retired),
        "modified": state.modified,
        "others": state.others,
    }
    write(paths.STATE_FILE, json.dumps(raw, indent=1, sort_keys=True) + "\n", 0o600)
