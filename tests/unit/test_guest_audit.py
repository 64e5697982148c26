"""Records of what auditd and the door say: whose a command is, and what of it is kept."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

events: Any = importlib.import_module("guest.audit.events")
chain: Any = importlib.import_module("guest.audit.chain")
kernel: Any = importlib.import_module("guest.audit.kernel")
recorder: Any = importlib.import_module("guest.audit.recorder")
shares: Any = importlib.import_module("guest.audit.shares")
words: Any = importlib.import_module("guest.audit.words")

NAMES = {20001: "alice", 20002: "bob"}
NOW = 1764258890.0
KEY = "ED25519 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


def _syscall(serial: int, *, auid: int, ses: int, exe: str, container: bool, uid: int = 0) -> str:
    subject = "docker-default (enforce)" if container else "unconfined"
    return (
        f"type=SYSCALL msg=audit(1764258896.123:{serial}): arch=c000003e syscall=59 success=yes"
        f" exit=0 a0=55d3 a1=55d4 a2=55d5 a3=8 items=2 ppid=900 pid=901 auid={auid}"
        f" uid={uid or auid} gid=20001 euid=20001 suid=20001 fsuid=20001 egid=20001 sgid=20001"
        f' fsgid=20001 tty=pts0 ses={ses} comm="x" exe="{exe}" subj={subject} key=(null)'
    )


def _hex(word: str) -> str:
    return word.encode().hex().upper()


def _execve(serial: int, *argv: str) -> str:
    said = " ".join(
        f'a{place}="{word}"' if not word or (word.isascii() and word.isalnum()) else
        f"a{place}={_hex(word)}"
        for place, word in enumerate(argv)
    )  # fmt: skip
    return f"type=EXECVE msg=audit(1764258896.123:{serial}): argc={len(argv)} {said}"


def _login(serial: int, process: int, auid: int, ses: int) -> str:
    return (
        f"type=LOGIN msg=audit(1764258890.000:{serial}): pid={process} uid=0 old-auid=4294967295"
        f" auid={auid} tty=(none) old-ses=4294967295 ses={ses} res=1"
    )


def _command(serial: int, argv: list[str], **how: Any) -> list[str]:
    return [_syscall(serial, **how), _execve(serial, *argv)]


class Told:
    """A recorder, told lines."""

    def __init__(self) -> None:
        self._reader = events.Reader()
        self._recorder = recorder.Recorder(NAMES.get)

    def kernel(self, *lines: str) -> list[dict[str, Any]]:
        """What the kernel says."""
        for line in lines:
            self._reader.take(line)
        return [
            each for event in self._reader.finished(set()) for each in self._recorder.seen(event)
        ]

    def known(self) -> dict[str, Any]:
        """What outlives it."""
        known: dict[str, Any] = self._recorder.known()
        return known

    def door(self, process: int, *messages: str) -> list[dict[str, Any]]:
        """What a process of sshd's says, or the judge of codes."""
        return [each for text in messages for each in self._recorder.heard(NOW, process, text)]


def test_a_command_has_its_person_and_how_they_came() -> None:
    told = Told()
    (login,) = told.door(
        700,
        f"Partial publickey for alice from 192.0.2.7 port 50022 ssh2: {KEY}",
        "code of alice from 192.0.2.7: right, by phone (0 wrong in a day)",
        "Accepted keyboard-interactive/pam for alice from 192.0.2.7 port 50022 ssh2",
    )
    came = {"way": "ssh", "key": KEY, "device": "phone", "address": "192.0.2.7"}
    assert came.items() <= login.items()
    assert (login["kind"], login["person"], login["result"]) == ("login", "alice", "let in")
    machine = {"auid": 20001, "ses": 12, "container": False}
    way_in = ["/bin/sh", "/usr/local/lib/secondlock/shell", "-c", "python3 train.py"]
    records = told.kernel(
        _login(1, 700, 20001, 12),
        *_command(2, way_in, exe="/usr/bin/dash", **machine),
        *_command(3, ["sudo", "-n", recorder.ENTER], exe="/usr/bin/sudo", **machine),
        *_command(4, ["/usr/bin/crun", "exec"], exe="/usr/bin/crun", **machine),
        *_command(
            5, ["python3", "train.py"], auid=20001, ses=12, exe="/usr/bin/python3.9", container=True
        ),
    )
    (command,) = records
    assert came.items() <= command.items()
    assert (command["what"], command["where"]) == ("python3 train.py", "workspace")
    assert (command["kind"], command["person"], command["session"]) == ("command", "alice", 12)


def test_what_docker_starts_is_its_persons_and_jupyters_is_told_apart() -> None:
    told = Told()
    crun = ["/usr/bin/crun", "--root", "/run/docker/runtime-runc/moby", "create"]
    inside = {"auid": 20002, "container": True}
    first, *_ = told.kernel(
        _login(1, 800, 20002, 13),
        *_command(2, crun, auid=20002, ses=13, exe="/usr/bin/crun", container=False),
        *_command(3, ["sleep", "infinity"], ses=13, exe="/usr/bin/sleep", **inside),
    )
    assert (first["person"], first["way"], first["what"]) == ("bob", "workspace", "sleep infinity")
    serve = ["/bin/sh", recorder.JUPYTER, "serve"]
    records = told.kernel(
        _login(4, 810, 20002, 14),
        *_command(5, crun, auid=20002, ses=14, exe="/usr/bin/crun", container=False),
        *_command(6, serve, ses=14, exe="/usr/bin/dash", **inside),
        *_command(7, ["id"], ses=14, exe="/usr/bin/id", **inside),
    )
    assert [(each["what"], each["way"]) for each in records][1] == ("id", "jupyter")


def test_nobody_by_ssh_passes_for_jupyter() -> None:
    told = Told()
    told.door(700, "Accepted publickey for alice from 192.0.2.7 port 5 ssh2: " + KEY)
    serve = ["/bin/sh", recorder.JUPYTER, "serve"]
    (command,) = told.kernel(
        _login(1, 700, 20001, 12),
        *_command(2, serve, auid=20001, ses=12, exe="/usr/bin/dash", container=True),
    )
    assert command["way"] == "ssh"


def test_who_tries_to_be_another_stays_who_they_are_and_how_they_came() -> None:
    told = Told()
    told.door(700, "Accepted publickey for alice from 192.0.2.7 port 5 ssh2: " + KEY)
    told.door(701, "Accepted publickey for bob from 192.0.2.8 port 5 ssh2: " + KEY)
    how: dict[str, Any] = {"auid": 20001, "ses": 12, "exe": "/bin/x", "container": True}
    # As a 6.12 kernel tells of `echo 20002 >/proc/self/loginuid`; the process has bob's old number.
    tried = (
        "type=LOGIN msg=audit(1764258896.123:3): pid=701 uid=20001 old-auid=20001 auid=20002"
        " tty=(none) old-ses=12 ses=4294967295 res=0"
    )
    records = told.kernel(
        _login(1, 700, 20001, 12),
        *_command(2, ["x", "before"], **how),
        tried,
        _syscall(3, **how),
        *_command(4, ["x", "after"], **how),
    )
    assert [(one["person"], one["address"]) for one in records] == [("alice", "192.0.2.7")] * 2


@pytest.mark.parametrize(("uid", "later"), [(20002, 1.0), (20001, 600.0)])
def test_a_process_that_has_an_old_logins_number_has_not_come_by_it(uid: int, later: float) -> None:
    told = Told()
    told.door(700, "Accepted publickey for alice from 192.0.2.7 port 5 ssh2: " + KEY)
    begun = _login(1, 700, uid, 12).replace("1764258890", f"{NOW + later:.0f}")
    how: dict[str, Any] = {"auid": uid, "ses": 12, "exe": "/bin/x", "container": True}
    (command,) = told.kernel(begun, *_command(2, ["x"], **how))
    assert not {"address", "key"} & command.keys()
    assert command["way"] == "workspace"


def _storm(told: Told, auid: int, first: int, count: int, word: str = "x") -> list[dict[str, Any]]:
    how: dict[str, Any] = {"auid": auid, "ses": 12, "exe": "/bin/x", "container": True}
    return told.kernel(
        *(line for n in range(first, first + count) for line in _command(n, ["x", word], **how))
    )


def test_one_persons_storm_is_a_number_and_takes_no_room_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shares, "BURST", 10)
    told = Told()
    assert len(_storm(told, 20001, 1, 30)) == 10
    assert len(_storm(told, 20002, 100, 5)) == 5
    again = recorder.Recorder(NAMES.get)  # it was ended in between
    again.know(json.loads(json.dumps(told.known())))
    (lost,) = again.shares.losses(NOW)
    assert (lost["kind"], lost["person"], lost["result"], lost["lost"]) == (
        "alert", "alice", "lost", 20,
    )  # fmt: skip
    assert list(again.shares.losses(NOW)) == []
    assert not again.shares.takes("alice", 1764258896.2)
    assert again.shares.takes("alice", 1764258900.0)


def test_ten_thousand_programs_are_recorded_whole_and_a_day_has_a_bound() -> None:
    share = shares.Shares()
    assert all(share.takes("alice", NOW + number / 1000) for number in range(10_000))
    assert sum(share.takes("alice", NOW + number / 5) for number in range(5 * 86_400)) < 200_000


def test_a_record_is_short_whatever_is_in_its_words() -> None:
    (record,) = _storm(Told(), 20001, 1, 1, "\U0001f600" * 300)
    line, _ = chain.seal(chain.Head(), record)
    assert len(line) < 1500


def test_what_has_no_login_uid_is_its_uids() -> None:
    (command,) = Told().kernel(
        *_command(
            1, ["id"], auid=events.UNSET, ses=events.UNSET, uid=20002, exe="/usr/bin/id",
            container=True,
        )
    )  # fmt: skip
    assert (command["person"], command["way"]) == ("bob", "workspace")
    assert "session" not in command


def test_the_gate_before_a_persons_jupyter_is_no_doing_of_theirs() -> None:
    gate = ["/usr/bin/python3", "-I", recorder.GATE]
    outside: dict[str, Any] = {"uid": 20002, "exe": "/usr/bin/python3.13", "container": False}
    told, unset = Told(), events.UNSET
    assert told.kernel(*_command(1, gate, auid=unset, ses=unset, **outside)) == []
    assert told.kernel(*_command(2, gate, auid=20002, ses=12, **outside))


def test_who_became_root_on_the_machine_is_told() -> None:
    (command,) = Told().kernel(
        *_command(
            1, ["cat", "/etc/shadow"], auid=20001, ses=12, uid=0, exe="/usr/bin/cat",
            container=False,
        )
    )  # fmt: skip
    assert (command["person"], command["where"]) == ("alice", "machine")


def test_wrong_codes_and_a_freeze_are_told_and_strangers_words_are_not() -> None:
    told = Told()
    records = told.door(
        1,
        "code of alice from 192.0.2.7: wrong (29 wrong in a day)",
        "code of alice from 192.0.2.7: wrong (30 wrong in a day, frozen)",
        "code of alice from 192.0.2.7: frozen (30 wrong in a day, frozen)",
        "code of alice from 192.0.2.7: malformed (3 wrong in a day)",
        "Invalid user hunter2 from 192.0.2.7 port 5",
        "Failed password for invalid user hunter2 from 192.0.2.7 port 5 ssh2",
        "Suppressed 300 messages from ssh.service",
    )
    assert [(each["kind"], each["result"]) for each in records] == [
        ("login", "refused"),
        ("login", "refused"),
        ("alert", "frozen"),
        ("alert", "lost"),
    ]
    assert "hunter2" not in str(records)


def test_who_comes_by_https_is_told_apart_from_who_comes_by_ssh() -> None:
    told = Told()
    right = "code of alice from 192.0.2.9: right, by {} (0 wrong in a day)"
    refused, web, ssh = told.door(
        1,
        "code of alice from 192.0.2.9: used (0 wrong in a day), by HTTPS",
        right.format("phone"),
        right.format("emergency code") + ", by HTTPS",
        "Accepted passphrase+totp for alice from 192.0.2.9 by HTTPS",
        "Accepted keyboard-interactive/pam for alice from 192.0.2.7 port 50022 ssh2",
        "Accepted passphrase+totp for alice from 192.0.2.9 by HTTPS of mine",
    )
    assert (refused["result"], refused["way"]) == ("refused", "web")
    assert (web["result"], web["way"], web["device"]) == ("let in", "web", "emergency code")
    assert (ssh["way"], ssh["device"], ssh["address"]) == ("ssh", "phone", "192.0.2.7")


def test_whom_a_provider_vouched_for_is_told_so() -> None:
    (login,) = Told().door(1, "Accepted provider for alice from 192.0.2.9 by HTTPS")
    assert (login["result"], login["way"], login["device"]) == ("let in", "web", "provider")
    frozen, nobody = Told().door(
        1,
        "Failed provider for alice from 192.0.2.9: frozen",
        "Failed provider from 192.0.2.9: it calls nobody here Accepted provider for alice",
    )
    assert (frozen["person"], frozen["what"]) == ("alice", "provider: frozen")
    assert (nobody.get("person"), nobody["what"]) == (None, "provider: it calls nobody here")
    assert {frozen["result"], nobody["result"]} == {"refused"}


def test_strangers_whom_the_provider_knows_fill_no_record() -> None:
    stranger = "Failed provider from 192.0.2.9: it calls nobody here {}"
    found = Told().door(1, *[stranger.format(n) for n in range(5000)])
    assert [one["kind"] for one in found] == ["login"] * 9 + ["alert"] * 3
    assert found[-1]["what"].startswith("1000 whom only the provider knows")


def test_who_comes_from_another_network_is_told_of() -> None:
    (refused,) = Told().door(1, "Refused alice from 198.51.100.7: none of their networks")
    assert (refused["person"], refused["result"], refused["way"]) == ("alice", "refused", "web")
    assert (refused["what"], refused["address"]) == ("another network", "198.51.100.7")


def test_who_guesses_passphrases_by_https_is_told_of_and_fills_no_record() -> None:
    told = Told()
    wrong = "Failed passphrase for {} from 192.0.2.9"
    assert told.door(1, *[wrong.format("alice")] * 9) == []
    (alert,) = told.door(1, wrong.format("-"))
    assert (alert["kind"], alert["result"], alert["way"]) == ("alert", "refused", "web")
    assert alert["address"] == "192.0.2.9"
    assert len(told.door(1, *[wrong.format("hunter2")] * 5000)) == 2
    assert told.door(1, *["Invalid user x " + wrong.format("alice")] * 20) == []


def test_a_certificate_of_the_day_is_its_persons() -> None:
    (login,) = Told().door(
        7,
        "Accepted publickey for alice.day from 2001:db8::1 port 5 ssh2: ED25519-CERT SHA256:abc ID"
        " alice (serial 0) CA ED25519 SHA256:def",
    )
    assert (login["person"], login["device"]) == ("alice", "remembered")


@pytest.mark.parametrize("word", ["a b", "grün", 'say "so"', "new\nline", "\x1b[2J", "", "DEAD"])
def test_a_word_of_any_kind_comes_out_as_it_was(word: str) -> None:
    reader = events.Reader()
    for line in _command(1, ["echo", word], auid=20001, ses=1, exe="/bin/echo", container=True):
        reader.take(line)
    (event,) = reader.finished(set())
    assert event.argv == ["echo", word]


def test_a_long_word_comes_in_pieces() -> None:
    reader = events.Reader()
    head = "type=EXECVE msg=audit(1.000:1):"
    reader.take(_syscall(1, auid=20001, ses=1, exe="/bin/echo", container=True))
    reader.take(f'{head} argc=3 a0="echo" a1_len=8 a1[0]={_hex("ab c")}')
    reader.take(f'{head} a1[1]={_hex("d ef")} a2="g"')
    (event,) = reader.finished(set())
    assert event.argv == ["echo", "ab cd ef", "g"]


def test_what_was_pushed_out_before_it_was_read_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "audit.log"
    monkeypatch.setattr(kernel, "RAW", raw)
    monkeypatch.setattr(kernel, "AUDITCTL", tmp_path / "none")
    how = {"auid": 20001, "ses": 1, "exe": "/bin/x", "container": True}

    def write(file: Path, *serials: int) -> None:
        with file.open("a") as log:
            for serial in serials:
                log.write("".join(f"{line}\n" for line in _command(serial, ["x"], **how)))
            # auditd's own events have numbers of their own, which are the kernel's too.
            log.write(f"type=DAEMON_ROTATE msg=audit(1.000:{serials[-1]}): op=rotate-logs auid=0\n")

    def read(known: dict[str, Any]) -> tuple[list[int], int, dict[str, Any]]:
        there = kernel.Kernel(known)
        found = [event.serial for _ in range(3) for event in there.events()]
        lost = sum(one["lost"] for one in there.losses())
        return found, lost, there.places()

    write(raw, 1, 2, 3)
    assert read({})[:2] == ([1, 2, 3], 0)
    places = read({})[2]
    raw.rename(tmp_path / "audit.log.1")  # what auditd does when it is full
    write(tmp_path / "audit.log.1", 4)
    write(raw, 5, 6)
    assert read(places)[:2] == ([4, 5, 6], 0)
    (tmp_path / "audit.log.1").unlink()
    assert read(places)[:2] == ([5, 6], 1)
    raw.unlink()
    write(raw, 9)
    assert read(places)[:2] == ([9], 5)


def test_nobody_waits_long_for_the_record_and_the_kernel_prints_nothing_of_it() -> None:
    guest = Path(kernel.__file__).parents[1]
    rules = (guest / "audit" / "rules.j2").read_text()
    waits = [int(each) for each in re.findall(r"^--backlog_wait_time (\d+)$", rules, re.MULTILINE)]
    assert waits, "the kernel's own is a minute"
    assert max(waits) / 250 < 0.1  # seconds, for each record of somebody else's program
    prints = (guest / "hardening" / "sysctl.conf.j2").read_text().splitlines()
    assert "kernel.printk_ratelimit_burst = 0" in prints


_LINES = st.sampled_from(
    [
        *_command(7, ["a", "b c"], auid=20001, ses=12, exe="/bin/a", container=True),
        _login(7, 700, 20001, 12),
    ]
)


@settings(deadline=None, max_examples=300)
@given(_LINES, st.integers(0, 400), st.text(max_size=12) | st.sampled_from(["=", '"', "a9[", "("]))
def test_no_line_stops_the_reader(line: str, place: int, more: str) -> None:
    told = Told()
    spoilt = line[:place] + more + line[place + len(more) :]
    for record in told.kernel(spoilt, *_command(7, ["x"], auid=1, ses=1, exe="", container=True)):
        assert record["person"] in NAMES.values()
    told.door(1, spoilt, more)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(max_size=300), max_size=40))
def test_what_is_recorded_of_words_is_bounded(argv: list[str]) -> None:
    said = words.recorded(argv)
    assert len(said) < words.MOST + 40
    assert "\n" not in said


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "piece",
    ["auth", "a-", "a-1", "-", "a=", "X-", "://", "://:", '"', "'", "\\", '\\"', "(", "a ", '"a\\',
     "password=", "password='", 'password="\\', "?key=", "--a=", " \t", "-u"],
)  # fmt: skip
def test_no_word_holds_the_record_up(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest words that Linux takes: time in their square would be minutes."""
    word = f"-{piece * (2**17 // len(piece))}!"
    assert len(words.recorded(["x", *[word] * 23])) < words.MOST + 40
    monkeypatch.setattr(words, "LOOKED_AT", len(word))  # not the cut alone keeps it quick
    words.recorded(["x", word])
    words.recorded(["sh", "-c", word])


SECRET = "hunter2!"


@pytest.mark.parametrize(
    "argv",
    [
        ["mysql", f"-p{SECRET}", "-u", "root"],
        ["sshpass", f"-p{SECRET}", "ssh", "host"],
        ["curl", "-u", f"me:{SECRET}", "https://example.org"],
        ["curl", f"https://me:{SECRET}@example.org/x"],
        ["curl", "-H", f"Authorization: Bearer {SECRET}", "https://example.org"],
        ["curl", f"https://example.org/?a=1&token={SECRET}&b=2"],
        ["wget", "--http-password", SECRET, "https://example.org"],
        ["wget", f"--http-password={SECRET}", "https://example.org"],
        ["python3", "login.py", "--api-key", SECRET],
        ["python3", "login.py", f"--wandb_api_key={SECRET}"],
        ["env", f"AWS_SECRET_ACCESS_KEY={SECRET}", "aws", "s3", "ls"],
        ["env", f"HOME={SECRET}", "true"],
        ["bash", "-c", f"export PGPASSWORD={SECRET}; psql -h db"],
        ["bash", "-c", f"PGPASSWORD='{SECRET}' psql -h db"],
        ["bash", "-c", f"curl -u me:{SECRET} https://example.org"],
        ["bash", "-c", f"curl -H 'Authorization: Bearer {SECRET}' https://example.org"],
        ["bash", "-c", f"wandb login --token {SECRET}"],
        ["bash", "-c", f"cat >.netrc <<EOF\npassword {SECRET}\nEOF"],
        ["bash", "-c", f"docker login --password '{SECRET}' registry"],
        ["git", "clone", f"https://oauth2:{SECRET}@example.org/x.git"],
        ["git", "-c", f"http.extraHeader=Authorization: Basic {SECRET}", "fetch"],
        ["mysqldump", f"--password=correct horse {SECRET}"],
        ["env", f"DB_PASSWORD=correct horse {SECRET}", "x"],
        ["bash", "-c", f"PGPASSWORD='correct horse {SECRET}' psql"],
        ["bash", "-c", f"cd x;mysql -p{SECRET} db"],
        ["ssh", "host", f"cd x && PGPASSWORD='correct horse {SECRET}' psql"],
        ["ssh", "host", f"sh -c \"mysql --password 'correct horse {SECRET}'\""],
        ["curl", "-H", f"Cookie: a=b; sid={SECRET}", "host"],
        ["curl", "-H", f"X-Auth: correct horse {SECRET}", "host"],
        ["tool", "--password", f"-{SECRET}"],
        ["tool", "--password", f"&{SECRET}"],
        ["tool", "--token", "--password", SECRET],
        ["git", "-c", f"sendemail.smtppass=correct horse {SECRET}", "send-email"],
        ["sshpass", "-p", SECRET, "ssh", "host"],
        ["curl", f"-sSume:{SECRET}", "host"],
        ["curl", "--user", f"me:{SECRET}", "host"],
        ["openssl", "enc", "-passin", f"pass:{SECRET}"],
        ["smbclient", "-U", f"me%{SECRET}"],
        ["docker", "login", "-u", "me", "-p", SECRET],
        ["redis-cli", "-a", SECRET],
        ["curl", "-d", f'{{"user": "me", "password": "correct horse {SECRET}"}}', "host"],
        ["bash", "-c", f'curl -d "{{\\"password\\": \\"correct horse {SECRET}\\"}}"'],
        ["curl", "-d", f"name=me&password={SECRET}", "host"],
        ["python3", "-c", f"login(name='me', password = 'correct horse {SECRET}')"],
        ["python3", "-c", f"config['password'] = 'correct horse {SECRET}'"],
        ["ruby", "-e", f"login(:password => 'correct horse {SECRET}')"],
        ["sudo", "curl", "-u", f"me:{SECRET}", "host"],
        ["docker", "exec", "db", "mysql", f"-p{SECRET}"],
        ["curl", "--pass", SECRET, "host"],
        ["aws", "configure", "set", "aws_secret_access_key", SECRET],
        ["psql", "-c", f"ALTER USER me PASSWORD '{SECRET}'"],
    ],
)
def test_no_secret_that_something_marks_is_recorded(argv: list[str]) -> None:
    said = words.recorded(argv)
    assert SECRET not in said
    assert "hunter2" not in said
    assert argv[0] in said


@pytest.mark.parametrize(
    "secret",
    ["123456", "50194780", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "ghp_16C7e42F292c6912E7710c838347"],
)
def test_what_looks_like_a_code_or_a_key_is_not_recorded(secret: str) -> None:
    assert secret not in words.recorded(["tool", secret])
    assert secret not in words.recorded(["bash", "-c", f"tool {secret} now"])


@pytest.mark.parametrize(
    "argv",
    [
        ["python3", "-u", "train.py", "--lr", "0.1", "--epochs=90"],
        ["rm", "-rf", "/home/alice/data/2026-11-27"],
        ["scp", "-t", "/home/alice/model.h5"],
        ["tar", "-xf", "images.tar.gz"],
        ["nvidia-smi", "--query-gpu=name", "--format=csv"],
        ["pip", "install", "--user", "jupyterlab==4.5"],
        ["ssh", "-p2222", "host"],
        ["python3", "main.py", "seed=42", "model.layers=3"],
        ["wget", "https://example.org/a/b?page=2"],
        ["curl", "-XPUT", "https://example.org/a"],
        ["python3", "train.py", "--tokenizer", "bert"],
        ["passwd", "bob"],
        ["python3", "-c", "pass", "by-ssh"],
        ["bash", "-c", "cd /data && python3 train.py --lr 0.1 2>&1 | tee log; du -sh ."],
    ],
)
def test_what_an_admin_needs_stays(argv: list[str]) -> None:
    assert words.REMOVED not in words.recorded(argv)
    assert all(word in words.recorded(argv) for word in argv)
