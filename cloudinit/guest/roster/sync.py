"""secondlock-sync: make the machine as its roster says.

`apply` reads a roster from standard input and prints one JSON object, `fetch` gets it from AWS;
`boot` mounts the volumes of a machine that already has one; `serial` says which it has. A refused
roster changes nothing.
`volumes` brings AWS's data volume into its places, in a unit of its own. `settle` is what the first
boot leaves for when the door is open.
"""

import contextlib
import json
import os
import pwd
import sys
import time
from typing import Any

from guest import kept, paths, services
from guest.alerts import watch as alerts
from guest.audit import store as audit
from guest.closing import closing
from guest.firewall import rules
from guest.gateway import door as web
from guest.jupyter import port
from guest.remember import person as remembered
from guest.roster import accounts, leavers, state
from guest.roster.document import MAX_BYTES, Researcher, Roster, parse
from guest.roster.state import State
from guest.ssh import door
from guest.system import GuestError, alone, folder, run, write
from guest.upgrade import change
from guest.volumes import mounts, restored
from guest.workspace import containers, share


def _refuse_old(roster: Roster, known: State) -> None:
    """Neither an older roster nor a retired enrollment comes back."""
    if (roster.modified, roster.serial) < (known.modified, known.serial):
        raise GuestError(f"roster {roster.serial} is older than {known.serial}, which is applied")
    for name, researcher in roster.researchers.items():
        if researcher.ids & (known.retired | roster.retired):
            raise GuestError(
                f"an enrollment of {name} was retired and cannot come back"
                f" (mend: secondlock rotate {name} --stack {roster.stack})"
            )


def _refuse_foreign(roster: Roster, machine: dict[str, str]) -> None:
    if (roster.stack, roster.machine) != (machine["stack"], machine["machine"]):
        raise GuestError("the roster is another machine's")


def _remember(roster: Roster, known: State) -> None:
    """What this roster retires stays retired."""
    known.retired |= roster.retired
    known.enrollments = {name: each.enrollment for name, each in roster.researchers.items()}
    known.others = _others(roster)
    known.serial, known.modified = roster.serial, roster.modified


def _others(roster: Roster) -> dict[str, list[str]]:
    """By name, the ids of what has one apart from the person's enrollment."""
    found = {name: each.ids - {each.enrollment} for name, each in roster.researchers.items()}
    return {name: sorted(ids) for name, ids in found.items() if ids}


def _retire_replaced(roster: Roster, known: State) -> None:
    """Before anything is bound anew: if this roster is cut off half-way, none that it replaced
    comes back with its used codes good again."""
    before = {*known.enrollments.values()}.union(*known.others.values())
    replaced = before.difference(*(each.ids for each in roster.researchers.values()))
    if not replaced <= known.retired:
        known.retired |= replaced
        state.save(known)


def _allot(roster: Roster, known: State) -> None:
    """Uids, remembered before any account is made: none is given twice, whatever is cut off."""
    new = set(roster.researchers) - set(known.uids)
    for name in sorted(new):
        known.uid(name)
    if new:
        state.save(known)


def _shut_out(roster: Roster, known: State) -> list[str]:
    """Whoever is not in the roster; what changed, in words.

    By the accounts too: a roster that was cut off may have made some that nothing remembers.
    """
    others = sorted((set(known.uids) | accounts.everybody()) - set(roster.researchers))
    active = [name for name in others if accounts.is_active(name)]
    for name in active:
        accounts.remove(name)
    return [f"{name}: removed" for name in active]


def _bound_before(researcher: Researcher, roster: Roster, known: State) -> frozenset[str]:
    """The person's ids that were bound before, by this volume's own memory.

    Where it has none, or an old one, by its sender's too.
    """
    name = researcher.name
    bound = {known.enrollments.get(name), *known.others.get(name, [])}
    lacking = not known.serial or restored.forgot()
    return frozenset(
        each for each in researcher.ids if each in bound or (lacking and roster.bound_before(each))
    )


def _apply(roster: Roster) -> list[str]:
    machine = json.loads(paths.MACHINE.read_text())
    _refuse_foreign(roster, machine)
    door.check_host_key(roster.host_key)
    mounts.mount_all(roster.new_volumes)
    known = state.load()
    _refuse_old(roster, known)
    for place in (paths.AUTHORIZED_KEYS, paths.WORKSPACES):
        folder(place, 0o755)
    for place in (paths.HOME / ".tmp", paths.SOCKETS):  # of which nobody lists whose there are
        folder(place, 0o711)
    accounts.make_groups()
    _retire_replaced(roster, known)
    _allot(roster, known)
    changed = _shut_out(roster, known)
    changed += leavers.settle(roster.homes)
    alerts.keep(roster.webhook)
    people = {name: (each, known.uid(name)) for name, each in sorted(roster.researchers.items())}
    made, groups = accounts.make(people), accounts.memberships()
    for name, (researcher, uid) in people.items():
        bound = _bound_before(researcher, roster, known)
        remembered.close(researcher)
        there = None if name in made else groups.get(name, set())
        changed += accounts.apply(researcher, uid, bound, there)
    mounts.limit({uid: each.share.home for each, uid in people.values() if each.share is not None})
    for researcher, _ in people.values():
        changed += remembered.open_again(researcher)
    _remember(roster, known)
    state.save(known)
    restored.caught_up()
    members = [uid for researcher, uid in people.values() if researcher.share is not None]
    web_from = roster.door.networks if roster.door is not None else ()
    asker = web.asker(roster.door)
    if rules.let_in(roster.allowed_from, web_from, machine["target"], members, asker):
        changed.append("firewall")
    if closing.keep(roster.closes, roster.researchers):
        changed.append("closing")
    if door.open_door(roster.host_key):
        changed.append("host key")
    first = services.prepare()
    if first:
        # In the background: it takes seconds, which nobody has to wait for.
        run("systemctl", "start", "--no-block", "secondlock-settle.service")
    # Machines of several people without shares offer none: port 8888 would be one's alone.
    if members or len(people) == 1:
        ports = {name: uid if members else None for name, (_, uid) in people.items()}
        port.offer(ports, at_once=not first)
    # Last: where the image lacks it, all else holds.
    changed += web.apply(roster.door, machine["target"], roster.web_port)
    return changed


def _take(text: str | bytes) -> int:
    """Check and apply a roster; the exit code is 1 where it was refused."""
    with alone():
        try:
            roster = parse(text)
            changed = _apply(roster)
            os.sync()  # what is said to be applied outlives a power cut
        except (GuestError, OSError) as error:
            if write(paths.ERROR, f"{error}\n", 0o644):  # told once, however often it comes
                kept.roster(f"refused: {error}")
                audit.note("change", f"roster: {error}", "refused")
            print(json.dumps({"applied": False, "error": str(error)}))
            return 1
        paths.ERROR.unlink(missing_ok=True)
        what = f"{roster.serial} applied: {', '.join(changed) or 'nothing changed'}"
        kept.roster(what)
        audit.note("change", f"roster {what}", "done")
        print(json.dumps({"applied": True, "serial": roster.serial, "changed": changed}))
    return 0


def apply() -> int:
    """Take a roster from standard input."""
    return _take(sys.stdin.buffer.read(MAX_BYTES + 1))


def fetch() -> int:
    """Take the roster that AWS holds, unless it is applied already.

    Without one the last stays, the status says why, and tries become rarer.
    """
    import hashlib

    from guest.aws import api, ssm

    patience = api.Patience("fetch")
    if patience.waits():
        return 0
    try:
        text = ssm.get(json.loads(paths.MACHINE.read_text()))
        mark = hashlib.sha256(text.encode()).hexdigest()
        applied = paths.APPLIED.exists() and paths.APPLIED.read_text() == mark
        if applied:
            mounts.grow()
    except GuestError as error:
        patience.failed()
        write(paths.ERROR, f"{error}\n", 0o644)
        print(error)
        return 1
    if not applied and _take(text):
        patience.failed()
        with contextlib.suppress(ValueError):  # a bundle may be what mends it
            _follow(json.loads(text)["roster"])
        return 1
    write(paths.APPLIED, mark, 0o600)
    paths.ERROR.unlink(missing_ok=True)
    patience.worked()
    return _follow(json.loads(text)["roster"])


def _follow(roster: dict[str, Any]) -> int:
    """Go on to the bundle that the roster names, if it is another than ours."""
    from guest.aws import api

    back = roster.get("older_bundle") is True
    digest: Any = roster.get("bundle")
    if not change.wanted(digest, back):
        return 0
    patience = api.Patience(f"upgrade-{digest[:16]}")
    if patience.waits():
        return 0
    patience.failed()  # until it has worked
    try:
        change.fetch(json.loads(paths.MACHINE.read_text()), digest)
        code = change.start(digest, *(["--back"] if back else []))
    except GuestError as error:
        write(paths.ERROR, f"{error}\n", 0o644)
        print(error)
        return 1
    if not change.wanted(digest, back):  # it runs, or would be refused again
        patience.worked()
    return code


def boot() -> int:
    """Mount the volumes again after a restart; without them sshd finds no host key.

    Whoever applies a roster meanwhile mounts them too, and then has sshd started, which waits for
    us: so we do not wait for them.
    """
    try:
        change.recover()
    except (GuestError, OSError, ValueError, KeyError) as error:
        write(paths.ERROR, f"an upgrade cannot be undone: {error}\n", 0o644)
    while not mounts.mounted():
        try:
            with alone(wait=False):
                mounts.mount_all(may_format=False)
                remembered.boot()
        except BlockingIOError:
            time.sleep(0.2)
        except GuestError as error:
            write(paths.ERROR, f"{error}\n", 0o644)
            print(error, file=sys.stderr)
            return 1
    return 0


def volumes() -> int:
    """What a roster asked for while it holds the machine (mounts.UNIT)."""
    return mounts.serve()


def serial() -> int:
    """Print the serial of the applied roster; 0 where there is none yet."""
    print(state.load().serial)
    return 0


def settle() -> int:
    """Make a dedicated machine's workspace before the first login asks for it; open Jupyter's ports
    and start the rest."""
    known = state.load()
    people = [*known.enrollments]
    try:
        if any(share.of(name) is not None for name in people):
            port.offer({name: known.uids[name] for name in people})
        elif len(people) == 1:
            containers.ensure(pwd.getpwnam(people[0]))
            port.offer({people[0]: None})
    finally:
        services.settle()
    return 0


def main() -> int:
    """The command line: `secondlock-sync apply|fetch|volumes|boot|serial|settle`."""
    commands = (apply, fetch, volumes, boot, serial, settle)
    return {each.__name__: each for each in commands}[sys.argv[1]]()
