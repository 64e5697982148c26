"""A shared machine: nobody gets out of their workspace, or into another's (support/attempts.py)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.attempts import ATTEMPTS, RUN, SECRET, scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Session
    from tests.support.shared import SharedMachine

# What the victim has: a server on all addresses and one on the loopback, words in shared memory
# and in a file, an abstract socket, and a process that waits.
VICTIM = f"""
import pathlib, socket, time
pathlib.Path("secret").write_text("{SECRET}")
pathlib.Path("secret").chmod(0o666)
pathlib.Path("/dev/shm/secret").write_text("{SECRET}")
everywhere, inside = socket.create_server(("", 7007)), socket.create_server(("127.0.0.1", 7008))
hidden = socket.socket(socket.AF_UNIX)
hidden.bind("\\0secret")
print("ready", flush=True)
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def stage(shared: SharedMachine) -> Iterator[tuple[Session, Session, dict[str, str]]]:
    """The victim's session, the attacker's, and what the scripts have to know."""
    victim, attacker = shared.researcher(), shared.researcher()
    with shared.client.session(victim) as theirs, shared.client.session(attacker) as mine:
        assert mine.succeed("id -un", timeout=300) == attacker.name
        assert theirs.succeed("id -un", timeout=300) == victim.name
        theirs.succeed("cat >victim.py", stdin=VICTIM.encode())
        theirs.succeed("(nohup python3 victim.py >/tmp/ready 2>&1 &)"
                       " && until grep -q ready /tmp/ready; do sleep 0.2; done")  # fmt: skip
        yield theirs, mine, _names(shared, victim.name, attacker.name)


def _names(shared: SharedMachine, victim: str, attacker: str) -> dict[str, str]:
    known = json.loads(
        shared.succeed(
            "PYTHONPATH=/usr/local/lib/secondlock python3 -I -c '"
            'import sys; sys.path.insert(0, "/usr/local/lib/secondlock")\n'
            "import json, pwd\nfrom guest.network import addresses as a\n"
            f'v, m = (pwd.getpwnam(n).pw_uid for n in ("{victim}", "{attacker}"))\n'
            "print(json.dumps(dict(uid=v, address=a.workspace(v), end=a.machine_end(v),"
            " jupyter=a.jupyter(v), mine=a.machine_end(m))))'"
        )
    )
    machine = shared.succeed("ip -4 -o addr show dev eth0 | grep -o '[0-9.]*/' | tr -d /").strip()
    pid = shared.succeed(f"pgrep -u {known['uid']} -f victim.py | head -1").strip()
    found = {**known, "victim": victim, "secret": SECRET, "machine": machine, "pid": pid}
    return {name: str(value) for name, value in {**found, "port": 7007, "inner": 7008}.items()}


def _worked(output: str) -> set[str]:
    return {name for name, worked in json.loads(output).items() if worked}


def test_nobody_gets_out_or_into_anothers(
    stage: tuple[Session, Session, dict[str, str]],
) -> None:
    theirs, mine, names = stage
    assert len(ATTEMPTS) >= 60
    tried = mine.succeed(f"python3 -c '{RUN}'", stdin=scripts(names), timeout=400)
    assert _worked(tried) == set()
    assert theirs.succeed("cat secret") == SECRET


def test_the_attempts_are_real(
    shared: SharedMachine, stage: tuple[Session, Session, dict[str, str]]
) -> None:
    """Each works for whom it should."""
    theirs, _, names = stage
    shared.succeed(f"cp /home/{names['victim']}/secret /root/secret")
    by_root = _worked(shared.succeed(f"python3 -c '{RUN}'", scripts(names, "root"), timeout=400))
    assert {name for name, each in ATTEMPTS.items() if each.control == "root"} - by_root == set()
    by_victim = _worked(theirs.succeed(f"python3 -c '{RUN}'", stdin=scripts(names, "victim")))
    expected = {name for name, each in ATTEMPTS.items() if each.control == "victim"}
    assert by_victim == expected
