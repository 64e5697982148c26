"""What a machine knows of one person's codes: what was issued, and what became of it.

Two files a person on the state volume, so that no writer undoes another's work: `codes/NAME.json`
is secondlock-sync's (what the enrollment issued), `spent/NAME.json` is the verifier's (which codes
opened a login, which answers were wrong). A third on the root disk, `witness`, tells a state volume
that was restored from one that was not: it says how often codes were used, and never less.

A login waits for this module and the verifier: they import only what starts quickly.
"""

import fcntl
import os
import time

from guest import lean

TYPE_CHECKING = False  # as `typing` has it, which takes a tenth of a verifier's time to import
if TYPE_CHECKING:
    from typing import Any

LIMIT = 30  # wrong codes of a day, after which nothing of the person's is looked at any more
DAY = 86400  # seconds
STEP = 30  # seconds that a code lasts (RFC 6238, 4.1)
PHONE = "phone"  # what the enrollment's own authenticator is called, if it has no other name
PATIENCE = 5.0  # seconds; whoever holds the lock needs milliseconds

# On the state volume.
CODES = "/var/lib/secondlock/codes"
SPENT = "/var/lib/secondlock/spent"
# On the root disk, and what a restart may forget.
WITNESS = "/var/lib/secondlock-witness"
LOCKS = "/run/secondlock/codes"


class CodesError(Exception):
    """Codes cannot be judged; the text never holds one."""


def read(place: str, name: str) -> "dict[str, Any] | None":
    """The person's file in one of the folders above, or None where there is none.

    Raises CodesError where it is damaged.
    """
    path = f"{place}/{name}.json"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (pathlib takes as long to import as all else)
            kept = os.fstat(file.fileno())
            if kept.st_uid != os.geteuid() or kept.st_mode & 0o022:
                raise CodesError(f"{path} could have been written by others")
            found = lean.loads(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise CodesError(f"{path} is damaged") from None
    if not _whole(place, found):
        raise CodesError(f"{path} is damaged")
    known: dict[str, Any] = found
    return known


def _whole(place: str, found: object) -> bool:
    """Whether a file of this place has all that it should."""
    wanted: dict[str, object]
    if place == SPENT:
        wanted = fresh("")
    elif place == CODES:
        wanted = {"enrollment": "", "method": "", "emergency": []}
    else:
        wanted = {"enrollment": "", "uses": 0, "step": 0}
    if not isinstance(found, dict):
        return False
    if place == CODES:  # whoever has given the enrollment's own phone back has others
        more: dict[str, object] = {"secret": ""} if "secret" in found else {"others": {}}
        wanted |= more
    return all(type(found.get(field)) is type(value) for field, value in wanted.items())


def save(place: str, name: str, content: "dict[str, Any]", lasting: bool = True) -> None:
    """Write the person's file by rename; where it is `lasting`, it is on the disk at the return.

    Raises OSError where there is no room.
    """
    new, path = f"{place}/.{name}.json.new", f"{place}/{name}.json"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(new, flags, 0o600), "w") as file:
        file.write(lean.dumps(content))
        file.flush()
        if lasting:
            os.fsync(file.fileno())
    os.rename(new, path)  # noqa: PTH104
    if lasting:
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class locked:  # noqa: N801 (used as a function is: `with locked(name):`)
    """Hold the person's codes alone. Raises CodesError where another holds them for long."""

    def __init__(self, name: str) -> None:
        self._name, self._lock = name, -1

    def __enter__(self) -> None:
        os.makedirs(LOCKS, mode=0o700, exist_ok=True)  # noqa: PTH103
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(f"{LOCKS}/{self._name}", flags, 0o600)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(self._lock)
                    raise CodesError("the codes are held by another login") from None
                time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)


def fresh(enrollment: str) -> "dict[str, Any]":
    """The slate of an enrollment of which nothing was used.

    `uses` counts logins; `last` are the newest steps used (RFC 6238's T) and `floor` the newest of
    those no longer listed: nothing up to it is good again, whatever the clock says. `emergency` are
    used emergency codes; where `void` is true, none is good. `wrong` are times of wrong answers.

    That is all of who has one phone and no other emergency codes than the enrollment's. Others have
    `others` (by the id of each further authenticator, its own `floor` and `last`), `codes` (the id
    of the emergency codes, if it is not the enrollment's) and `ids` (see there) besides. `device`
    is the name of what opened the last login.
    """
    return {
        "enrollment": enrollment,
        "uses": 0,
        "floor": 0,
        "last": [],
        "emergency": [],
        "void": False,
        "wrong": [],
        "frozen": False,
    }


def issued(name: str) -> "dict[str, Any] | None":
    """What was issued to the person: `enrollment`, `method`, `secret`, `emergency`.

    `secret` is that of the enrollment's own phone; `first` is its name, where it has one. Further
    authenticators are in `others`, by name each with its id and secret; `codes` is the id of the
    emergency codes where they are not the enrollment's.
    """
    return read(CODES, name)


def authenticators(issued: "dict[str, Any]") -> list[str]:
    """The names of what shows the person's codes."""
    own = [issued.get("first", PHONE)] if "secret" in issued else []
    return [*own, *issued.get("others", {})]


def ids(issued: "dict[str, Any]") -> list[str]:
    """What was issued besides the enrollment, and whether its own phone was given back.

    Empty for who has that one phone and those emergency codes alone.
    """
    found = [each for each, _ in issued.get("others", {}).values()]
    if "codes" in issued:
        found.append(f"codes {issued['codes']}")
    if "secret" not in issued:
        found.append("no phone")
    return sorted(found)


def slate(name: str, issued: "dict[str, Any]") -> "dict[str, Any]":
    """What became of the codes of what was issued.

    Where the root disk has seen more of their uses than the state volume has, that one was restored
    or emptied: the emergency codes are void, as nobody knows which were used, and no step up to the
    last known one is good. Raises CodesError where the volume knows nothing at all, and where the
    root disk knows of something else that was issued: then the volume is of a day before that.
    """
    enrollment, held = issued["enrollment"], ids(issued)
    found = read(SPENT, name)
    if found is None or found.get("enrollment") != enrollment or found.get("ids", []) != held:
        raise CodesError("the memory of used codes is lost")
    seen = _note(name)
    if seen is not None and (seen["enrollment"], seen.get("ids", [])) != (enrollment, held):
        raise CodesError("this enrollment was replaced by another")
    _restored(found, seen)
    return found


def _restored(slate: "dict[str, Any]", seen: "dict[str, Any] | None") -> list[str]:
    """Void the codes of a slate of a day before the root disk's note; what had been issued then."""
    if seen is None or seen["enrollment"] != slate["enrollment"] or seen["uses"] <= slate["uses"]:
        return []
    slate |= {"uses": seen["uses"], "void": True}
    raise_floors(slate, seen["step"])
    return list(seen.get("ids", []))


def memories(slate: "dict[str, Any]") -> "list[dict[str, Any]]":
    """What is known of each authenticator's steps: its `floor` and `last`."""
    return [slate, *slate.get("others", {}).values()]


def raise_floors(slate: "dict[str, Any]", floor: int) -> None:
    """No step up to this one is good, whichever authenticator shows its code."""
    for each in memories(slate):
        each["floor"] = max(each["floor"], floor)


def _note(name: str) -> "dict[str, Any] | None":
    """The root disk's note of a person; one that a crash left damaged says nothing."""
    try:
        return read(WITNESS, name)
    except CodesError:
        return None


def _witnessed(name: str, enrollment: str) -> dict[str, int]:
    """What the root disk saw of this enrollment."""
    seen = _note(name)
    if seen is None or seen["enrollment"] != enrollment:
        return {"uses": 0, "step": 0}
    return {"uses": seen["uses"], "step": seen["step"]}


def keep(name: str, what: "dict[str, Any]") -> None:
    """Remember: first on the state volume, then on the root disk. Raises OSError."""
    save(SPENT, name, what)
    # A witness that lags behind after a crash raises no false alarm, and a root disk that is full
    # shuts nobody out.
    try:  # noqa: SIM105 (contextlib takes longer to import than this module)
        _witness(name, what, lasting=False)
    except OSError:
        pass


def _witness(name: str, what: "dict[str, Any]", lasting: bool) -> None:
    save(WITNESS, name, _testimony(what), lasting)


def _testimony(what: "dict[str, Any]") -> "dict[str, Any]":
    step = max(step for each in memories(what) for step in (each["floor"], *each["last"]))
    seen = {"enrollment": what["enrollment"], "uses": what["uses"], "step": step}
    return {**seen, "ids": what["ids"]} if "ids" in what else seen


def enroll(
    name: str,
    wanted: "dict[str, Any]",
    known: "frozenset[str]" = frozenset(),
    older: "dict[str, Any] | None" = None,
) -> bool:
    """Bind what was issued; True when it is another enrollment than before.

    The same again keeps its slate, however often and after whatever fault it comes. `known` are the
    ids of what was bound before: where the volume knows nothing of that, or the root disk's note
    knows more, emergency codes are void, since nobody knows which of them were used. `older` is the
    slate that another form of these files holds. Raises CodesError, OSError.
    """
    enrollment = wanted["enrollment"]
    with locked(name):
        before = _sound(CODES, name)
        kept, there, seen = _sound(SPENT, name), _sound(SPENT, name), _note(name)
        if there is None or there.get("enrollment") != enrollment:
            there = older or _first_slate(name, enrollment, enrollment in known)
            if seen is not None and seen["enrollment"] == enrollment and seen["uses"]:
                known = known.union(seen.get("ids", []))
        _refuse_ended(wanted, there, seen)
        there = _fitted(there, wanted, known.union(_restored(there, seen)))
        if before == wanted and there == kept and _agrees(seen, there):
            return False
        # First the root disk: from now on what was issued before is good on no older volume. The
        # codes come last: cut off before that, nobody gets in until this is done again.
        if not _agrees(seen, there):
            _witness(name, there, lasting=True)
        if there != kept:
            save(SPENT, name, there)
        if before != wanted:
            save(CODES, name, wanted)
    return before is None or before["enrollment"] != enrollment


def _refuse_ended(
    wanted: "dict[str, Any]", there: "dict[str, Any]", seen: "dict[str, Any] | None"
) -> None:
    """What the enrollment itself issued does not come back once something else stood for it."""
    held = set(there.get("ids", []))
    if seen is not None and seen["enrollment"] == wanted["enrollment"]:
        held |= set(seen.get("ids", []))
    if "no phone" in held and "secret" in wanted:
        raise CodesError("the enrollment's own phone was ended, and cannot come back")
    if "codes" not in wanted and any(each.startswith("codes ") for each in held):
        raise CodesError("the enrollment's own emergency codes were ended, and cannot come back")


def _agrees(seen: "dict[str, Any] | None", what: "dict[str, Any]") -> bool:
    """Whether the root disk's note is of what was issued."""
    if seen is None:
        return False
    return all(seen.get(field) == what.get(field) for field in ("enrollment", "ids"))


def _fitted(
    slate: "dict[str, Any]", wanted: "dict[str, Any]", known: "frozenset[str]"
) -> "dict[str, Any]":
    """The slate with a memory of each authenticator; those that are gone stay remembered."""
    others = dict(slate.get("others", {}))
    for each, _ in wanted.get("others", {}).values():
        if each not in others:  # one that was known has lost its memory
            floor = max(slate["floor"], _shown_by_now() if each in known else 0)
            others[each] = {"floor": floor, "last": []}
    codes = wanted.get("codes")
    new: dict[str, Any] = {"others": others, "ids": ids(wanted), "codes": codes}
    fitted = {field: value for field, value in slate.items() if field not in new}
    fitted |= {field: value for field, value in new.items() if value}
    if slate.get("codes") != codes:
        # Others are good, unless they had their turn before and the volume lost that.
        fitted["void"] = bool({codes or wanted["enrollment"], f"codes {codes}"} & known)
    return fitted


def _sound(place: str, name: str) -> "dict[str, Any] | None":
    """A file that can be made again: a damaged one is none."""
    try:
        return read(place, name)
    except CodesError:
        return None


def _first_slate(name: str, enrollment: str, known_before: bool) -> "dict[str, Any]":
    seen = _witnessed(name, enrollment)
    slate = fresh(enrollment)
    if known_before or seen["uses"]:
        # Nor may a code be used again that is shown just now.
        floor = max(seen["step"], _shown_by_now())
        slate |= {"void": True, "uses": seen["uses"], "floor": floor}
    # Only this person's memory is gone or damaged: that is no accident of the volume's.
    issued_before = _sound(CODES, name)
    slate["frozen"] = issued_before is not None and issued_before["enrollment"] == enrollment
    return slate


def void_all() -> None:
    """No emergency code of anyone known here is good any more, and no step up to now.

    For a volume that was restored. Raises CodesError, OSError.
    """
    for file in sorted(os.listdir(SPENT)):  # noqa: PTH208
        name, ending = os.path.splitext(file)  # noqa: PTH122
        if ending == ".json" and not name.startswith("."):
            with locked(name):
                _void(name)


def _void(name: str) -> None:
    slate = _sound(SPENT, name)
    if slate is not None:  # a damaged one lets nobody in, and is void when it is made again
        raise_floors(slate, _shown_by_now())
        save(SPENT, name, slate | {"void": True})


def _shown_by_now() -> int:
    """The newest step whose code a phone may show that is a little ahead."""
    return int(time.time()) // STEP + 1


def withdraw(name: str) -> None:
    """No code of this person opens anything; what became of them stays known. Raises CodesError."""
    with locked(name):
        _remove(f"{CODES}/{name}.json")


def forget(name: str) -> None:
    """Remove all that is known of a person who is gone. Raises CodesError."""
    with locked(name):
        for place in (CODES, SPENT):
            _remove(f"{place}/{name}.json")


def _remove(path: str) -> None:
    if os.path.exists(path):  # noqa: PTH110
        os.unlink(path)  # noqa: PTH108


def emergency_left(issued: "dict[str, Any]", slate: "dict[str, Any]") -> int:
    """How many emergency codes are still good."""
    return 0 if slate["void"] else len(set(issued["emergency"]) - set(slate["emergency"]))


def wrong_today(what: "dict[str, Any]", now: float) -> list[float]:
    """The times of wrong answers that still count; one from the future does too."""
    return [at for at in what["wrong"] if at > now - DAY]
