"""Codes as the machine judges them: once, counted in time, and never good again.

What races here are real processes on one folder, as logins are; what crashes is killed for real.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import signal
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyotp
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

codes: Any = importlib.import_module("guest.totp.codes")
legacy: Any = importlib.import_module("guest.totp.legacy")
report: Any = importlib.import_module("guest.totp.report")
restored: Any = importlib.import_module("guest.volumes.restored")
sync: Any = importlib.import_module("guest.roster.sync")
verify: Any = importlib.import_module("guest.totp.verify")

NAME, STEP = "alice", 30
AT_ONCE, ROUNDS = 20, int(os.environ.get("SECONDLOCK_ROUNDS", "3"))
RIGHT = (True, None)


class Phone:
    """What an enrollment gave the person, and what it gave the machine."""

    def __init__(self, method: str = "key+totp") -> None:
        secret = pyotp.random_base32()
        self._totp: Any = pyotp.TOTP(secret)
        self.emergency = [str(10_000_000 + secrets.randbelow(90_000_000)) for _ in range(5)]
        self.issued: dict[str, Any] = {
            "enrollment": secrets.token_hex(16),
            "method": method,
            "secret": self._totp.byte_secret().hex(),
            "emergency": self.emergency,
        }

    def and_others(self, codes: Phone | None = None, **others: Phone) -> dict[str, Any]:
        """What is issued to who has further phones, and the emergency codes of another."""
        each = {name: [one.issued["enrollment"], one.secret] for name, one in others.items()}
        issued = {**self.issued, "others": each} if each else {**self.issued}
        if codes is not None:
            issued |= {"codes": codes.issued["enrollment"], "emergency": codes.emergency}
        return issued

    @property
    def secret(self) -> str:
        """In hexadecimal."""
        return str(self.issued["secret"])

    @property
    def known(self) -> frozenset[str]:
        """What a roster of before says that was bound."""
        return frozenset({self.issued["enrollment"]})

    def code(self, steps: int = 0) -> str:
        return str(self._totp.at(int(time.time()) + steps * STEP))

    def wrong(self) -> str:
        """Digits that no step of an hour either side shows."""
        near = {self.code(steps) for steps in range(-120, 121)}
        return next(f"{n:06d}" for n in range(10**6) if f"{n:06d}" not in near)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders as a machine has them; sshd says that it has checked a key."""
    for name in ("CODES", "SPENT", "WITNESS", "LOCKS"):
        place = tmp_path / name.lower()
        place.mkdir()
        monkeypatch.setattr(codes, name, str(place))
    monkeypatch.setattr(restored, "MARK", tmp_path / "volume.json")
    # Root's on a machine.
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(legacy, "TOTP", tmp_path / "totp")
    monkeypatch.setattr(legacy, "FAILLOCK", tmp_path / "faillock")
    monkeypatch.setattr(verify.measured, "offset", lambda: None)
    monkeypatch.setenv("SSH_AUTH_INFO_0", "publickey ssh-ed25519 AAAA\n")
    return tmp_path


@pytest.fixture
def phone() -> Phone:
    """A phone bound to the machine."""
    phone = Phone()
    assert codes.enroll(NAME, phone.issued)
    return phone


def _answer(answer: str, method: str = "key+totp") -> Any:
    before = ["publickey"] if method.startswith("key+") else []
    return verify._verify(NAME, method, answer, before)


def _enters(answer: str) -> bool:
    return bool(_answer(answer)[0])


def _race(answers: list[str]) -> int:
    """How many get in of those who wait and answer at the same instant, each a process."""
    context = get_context("fork")
    gate, entered = context.Barrier(len(answers)), context.Value("i", 0)

    def login(answer: str) -> None:
        gate.wait(30)
        if _enters(answer):
            with entered.get_lock():
                entered.value += 1

    workers = [context.Process(target=login, args=(each,)) for each in answers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    return int(entered.value)


def _calm(seconds: int = 5) -> None:
    """Wait until this step has some seconds left."""
    left = STEP - time.time() % STEP
    if left < seconds:
        time.sleep(left + 0.1)


def test_of_twenty_who_answer_one_code_together_one_gets_in() -> None:
    for _ in range(ROUNDS):
        phone = Phone()
        codes.enroll(NAME, phone.issued)
        _calm()
        assert _race([phone.code()] * AT_ONCE) == 1
        assert _race([phone.emergency[0]] * AT_ONCE) == 1
        assert not _enters(phone.emergency[0])


def test_different_right_codes_at_once_each_open_one_login(phone: Phone) -> None:
    _calm()
    assert _race([phone.code(), phone.code(-1), *phone.emergency[:3]] * 4) == 5
    assert not any(map(_enters, [phone.code(), phone.code(-1), *phone.emergency[:3]]))
    assert all(map(_enters, phone.emergency[3:]))


def test_at_most_thirty_guesses_are_looked_at_however_they_are_stacked(phone: Phone) -> None:
    wrong = phone.wrong()
    for _ in range(25):
        assert not _enters(wrong)
    # Twenty wait: five wrong ones are looked at, and then the right one is not.
    assert _race([wrong] * AT_ONCE) == 0
    assert len(codes.read(codes.SPENT, NAME)["wrong"]) == 30
    assert _answer(phone.code()) == (False, verify.WORDS["frozen"])
    assert _answer(phone.emergency[0]) == (False, verify.WORDS["frozen"])


def test_the_thirtieth_guess_may_still_be_right(phone: Phone) -> None:
    for _ in range(29):
        assert not _enters(phone.wrong())
    _calm()
    assert _enters(phone.code())


def test_a_freeze_outlasts_the_day(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(30):
        _enters(phone.wrong())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * codes.DAY)
    assert _answer(phone.code()) == (False, verify.WORDS["frozen"])


@pytest.mark.parametrize(
    "answer", ["", "hello", "12345", "1234567", "١٢٣٤٥٦", "12345x", "-1234567"]
)
def test_what_is_no_code_is_no_guess(phone: Phone, answer: str) -> None:
    for _ in range(40):
        assert _answer(answer) == (False, verify.WORDS["malformed"])
    _calm()
    assert _enters(phone.code())


def test_a_right_code_that_comes_twice_or_too_late_is_no_guess(phone: Phone) -> None:
    _calm(10)
    assert _enters(phone.code())
    for _ in range(40):
        assert _answer(phone.code()) == (False, verify.WORDS["used"])
        assert _answer(phone.code(-4)) == (False, verify.WORDS["late"])
    _calm()
    assert _enters(phone.code(1))
    assert codes.read(codes.SPENT, NAME)["wrong"] == []


def test_a_code_told_to_be_early_is_never_good(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = phone.code(10)
    assert _answer(early) == (False, verify.WORDS["early"])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * STEP)
    assert not _enters(early)


def test_a_clock_set_back_brings_no_code_back(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    for later in (0, 1, 2, 50):
        monkeypatch.setattr(time, "time", lambda later=later: now + later * STEP)
        assert _enters(phone.code())
    for later in (0, 1, 2, 50):
        monkeypatch.setattr(time, "time", lambda later=later: now + later * STEP)
        assert not _enters(phone.code())


def test_no_code_is_looked_at_while_the_clock_is_known_to_be_wrong(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify.measured, "offset", lambda: 660.0)
    entered, words = _answer(phone.wrong())
    assert not entered
    assert "660 s behind" in words
    assert _enters(phone.emergency[0])
    monkeypatch.setattr(verify.measured, "offset", lambda: 0.1)
    _calm()
    assert _enters(phone.code())
    assert codes.read(codes.SPENT, NAME)["wrong"] == []


def _killed_at(call: str, answer: str, time: int = 1) -> None:
    """A login whose verifier is killed at a system call of `save`, as a power cut would end it."""
    _cut(call, time, lambda: _enters(answer))


def _cut(call: str, time: int, work: Callable[[], object]) -> None:
    """Do this in a process that is killed when it makes this system call so often."""
    pid = os.fork()
    if pid == 0:
        whole, left = getattr(os, call), [time]

        def cut(*arguments: Any) -> Any:
            left[0] -= 1
            return whole(*arguments) if left[0] else os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, call, cut)
        work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_killed_in_between_a_code_opens_at_most_one_login(phone: Phone) -> None:
    for code in phone.emergency[:2]:
        _killed_at("fsync", code)  # before it was remembered: nobody was let in
        assert _enters(code)
        assert not _enters(code)
    wrong = phone.wrong()
    for _ in range(3):
        _killed_at("fsync", wrong)
        assert not _enters(wrong)
    assert len(codes.read(codes.SPENT, NAME)["wrong"]) == 3


@pytest.mark.parametrize(("call", "time"), [("fsync", 1), ("rename", 1), ("fsync", 2)])
@pytest.mark.parametrize("kind", ["one-time", "emergency"])
def test_killed_anywhere_a_code_of_either_kind_opens_at_most_one_login(
    phone: Phone, kind: str, call: str, time: int
) -> None:
    """Nobody was let in before the kill: so once more at most, and never after that."""
    _calm(5)
    code = phone.code() if kind == "one-time" else phone.emergency[0]
    _killed_at(call, code, time)
    assert [_enters(code) for _ in range(2)] in ([True, False], [False, False])


def test_without_room_nobody_gets_in(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            _enters(phone.emergency[0])
    assert _enters(phone.emergency[0])


@pytest.mark.parametrize("lost", ["CODES", "SPENT"])
def test_what_is_lost_or_damaged_lets_nobody_in(phone: Phone, lost: str) -> None:
    place = Path(getattr(codes, lost), f"{NAME}.json")
    kept = place.read_text()
    for damaged in (kept[:10], json.dumps({"enrollment": phone.issued["enrollment"]})):
        place.write_text(damaged)
        with pytest.raises(codes.CodesError, match="damaged"):
            _answer(phone.code())
    place.unlink()
    if lost == "CODES":
        assert _answer(phone.code()) == (False, None)
    else:
        with pytest.raises(codes.CodesError, match="lost"):
            _answer(phone.code())
    # The next roster makes again what it can; who may have used what is not among it.
    codes.enroll(NAME, phone.issued, phone.known)
    _calm()
    assert _enters(phone.code()) == (lost == "CODES")


def test_the_same_enrollment_again_forgets_nothing(phone: Phone) -> None:
    assert _enters(phone.emergency[0])
    _enters(phone.wrong())
    assert not codes.enroll(NAME, phone.issued, phone.known)
    assert not _enters(phone.emergency[0])
    assert len(codes.read(codes.SPENT, NAME)["wrong"]) == 1


def test_a_change_of_method_keeps_what_was_used(phone: Phone) -> None:
    assert _enters(phone.emergency[0])
    changed = phone.issued | {"method": "password+totp"}
    assert not codes.enroll(NAME, changed, phone.known)
    assert _answer(phone.emergency[0], "password+totp")[0] is False
    assert _answer(phone.emergency[1], "password+totp")[0] is True


def test_an_answer_to_a_prompt_of_another_method_is_refused(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _answer(phone.code(), "password+totp") == (False, verify.WORDS["method"])
    # As where sshd began a connection in password mode: no key was checked in it.
    monkeypatch.setenv("SSH_AUTH_INFO_0", "keyboard-interactive/pam\n")
    assert _answer(phone.code()) == (False, verify.WORDS["method"])


def test_a_state_volume_restored_from_yesterday_has_void_emergency_codes(phone: Phone) -> None:
    spent = Path(codes.SPENT, f"{NAME}.json")
    yesterday = spent.read_text()
    _calm(10)
    assert _enters(phone.code())
    assert _enters(phone.emergency[0])
    assert not report.of_codes(NAME, "key+totp")["codes_void"]
    spent.write_text(yesterday)
    assert report.of_codes(NAME, "key+totp")[
        "codes_void"
    ]  # so that the admin is asked for a rotation
    assert report.of_codes(NAME, "key+totp")["emergency_codes_left"] == 0
    assert _answer(phone.emergency[0]) == (False, verify.WORDS["void"])
    assert _answer(phone.emergency[1]) == (False, verify.WORDS["void"])
    assert not _enters(phone.code())
    assert _enters(phone.code(1))
    renewed = Phone()
    codes.enroll(NAME, renewed.issued)
    assert _enters(renewed.emergency[0])


def test_a_state_volume_restored_from_before_a_rotation_brings_no_phone_back(phone: Phone) -> None:
    assert _enters(phone.emergency[0])
    folders = (codes.CODES, codes.SPENT)
    yesterday = {path: path.read_text() for each in folders for path in Path(each).iterdir()}
    renewed = Phone()
    codes.enroll(NAME, renewed.issued)
    for path, content in yesterday.items():
        path.write_text(content)
    for answer in (*phone.emergency[:2], phone.code()):
        with pytest.raises(codes.CodesError, match="replaced"):
            _answer(answer)
    codes.enroll(NAME, renewed.issued, renewed.known)
    assert _answer(renewed.emergency[0]) == (False, verify.WORDS["void"])
    assert not _enters(phone.emergency[1])


def test_a_root_disk_that_takes_no_note_shuts_nobody_out(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "WITNESS", f"{codes.WITNESS}/full")
    assert _enters(phone.emergency[0])
    assert not _enters(phone.emergency[0])


def test_a_new_state_volume_for_a_person_who_is_not_has_void_emergency_codes() -> None:
    phone = Phone()
    codes.enroll(NAME, phone.issued, phone.known)
    assert _answer(phone.emergency[0]) == (False, verify.WORDS["void"])
    assert not _enters(phone.code())  # it may have been used on the volume that was lost
    assert not _enters(phone.code(1))


def test_codes_on_a_volume_out_of_a_snapshot_are_void_though_no_root_disk_remembers(
    phone: Phone, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_key = machine / "host_key"
    host_key.touch()
    monkeypatch.setattr(restored.paths, "HOST_KEY", host_key)
    restored.look("vol0a")
    snapshot = {path: path.read_text() for path in machine.glob("*/*.json")}
    _calm(10)
    assert _enters(phone.code())
    assert _enters(phone.emergency[0])
    restored.look("vol0a")
    assert _enters(phone.emergency[1])

    for path, content in snapshot.items():
        path.write_text(content)
    Path(codes.WITNESS, f"{NAME}.json").unlink()
    assert host_key.exists()
    restored.look("vol0b")
    # The door is shut until a roster says who may come in.
    assert not host_key.exists()
    assert _answer(phone.emergency[0]) == (False, verify.WORDS["void"])
    assert _answer(phone.emergency[4]) == (False, verify.WORDS["void"])
    assert not _enters(phone.code())
    assert not _enters(phone.code(1))
    restored.look("vol0b")
    renewed = Phone()
    codes.enroll(NAME, renewed.issued)
    restored.look("vol0b")
    assert _enters(renewed.emergency[0])


@pytest.mark.parametrize("mark", ["{", "{}", "[]", "null"])
def test_a_mark_that_says_nothing_is_another_volumes(phone: Phone, mark: str) -> None:
    restored.MARK.write_text(mark)
    restored.look("vol0a")
    assert _answer(phone.emergency[0]) == (False, verify.WORDS["void"])
    assert restored.forgot()


def test_killed_before_all_codes_are_void_it_is_done_at_the_next_look(phone: Phone) -> None:
    bob = Phone()
    codes.enroll("bob", bob.issued)
    restored.look("vol0a")
    pid = os.fork()
    if pid == 0:
        whole = codes.save
        codes.save = lambda place, name, *more: (
            os.kill(os.getpid(), signal.SIGKILL) if name == "bob" else whole(place, name, *more)
        )
        restored.look("vol0b")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert _answer(phone.emergency[0]) == (False, verify.WORDS["void"])
    restored.look("vol0b")
    assert verify._verify("bob", "key+totp", bob.emergency[0], []) == (False, verify.WORDS["void"])


def test_whom_a_restored_volume_forgot_its_rosters_sender_remembers(machine: Path) -> None:
    mine = frozenset({"0c" * 16, "0d" * 16})
    enrolled = SimpleNamespace(name="carol", enrollment="0c" * 16, ids=mine)
    known = sync.State(serial=3)

    def bound_before() -> Any:
        roster = SimpleNamespace(bound_before=lambda one: one in mine)
        return sync._bound_before(enrolled, roster, known)

    restored.look("vol0a")
    assert not bound_before()
    restored.look("vol0b")
    assert bound_before() == mine
    restored.caught_up()
    assert not bound_before()
    known.enrollments["carol"] = enrolled.enrollment
    assert bound_before() == {"0c" * 16}
    known.others["carol"] = ["0d" * 16]
    assert bound_before() == mine


def test_what_an_older_release_kept_stays_used_and_frozen(machine: Path) -> None:
    phone, (totp, tallies) = Phone(), (machine / "totp", machine / "faillock")
    for place in (totp, tallies):
        place.mkdir()
    step = int(time.time()) // STEP
    lines = ["SECRET", '" RATE_LIMIT 3 30', f'" DISALLOW_REUSE {step - 1} {step}', '" TOTP_AUTH']
    (totp / NAME).write_text("\n".join([*lines, *phone.emergency[2:]]) + "\n")
    tally = legacy.TALLY.pack(b"10.0.2.2", 0, 1, int(time.time()) - 60)
    (tallies / NAME).write_bytes(tally * 3)
    slate = legacy.slate(NAME, phone.issued)
    codes.enroll(NAME, phone.issued, phone.known, older=slate)
    assert not any(map(_enters, [*phone.emergency[:2], phone.code()]))
    assert _enters(phone.emergency[2])
    assert len(codes.read(codes.SPENT, NAME)["wrong"]) == 3


def test_any_authenticator_opens_and_each_code_is_good_once(phone: Phone) -> None:
    tablet, token = Phone(), Phone()
    codes.enroll(NAME, phone.and_others(tablet=tablet, token=token), phone.known)
    _calm(10)
    for name, one in {"phone": phone, "tablet": tablet, "token": token}.items():
        code = one.code()
        assert _enters(code)
        assert _answer(code) == (False, verify.WORDS["used"])
        assert report.of_codes(NAME, "key+totp")["last_authenticator"] == name
    assert _enters(phone.emergency[0])
    found = report.of_codes(NAME, "key+totp")
    assert found["authenticators"] == ["phone", "tablet", "token"]
    assert found["last_authenticator"] == "emergency code"


def test_two_that_show_the_same_code_open_one_login(phone: Phone) -> None:
    """One secret twice stands for the one chance in a million."""
    twin = phone.and_others(twin=phone)
    twin["others"]["twin"][0] = "ab" * 16
    codes.enroll(NAME, twin, phone.known)
    _calm()
    assert _race([phone.code()] * AT_ONCE) == 1
    assert not _enters(phone.code())


def test_one_authenticator_comes_and_goes_and_the_others_notice_nothing(phone: Phone) -> None:
    tablet, other = Phone(), Phone()
    _calm(15)
    used = phone.code()
    assert _enters(used)
    assert _enters(phone.emergency[0])
    _enters(phone.wrong())
    for issued in (
        phone.and_others(tablet=tablet),
        phone.and_others(tablet=other),
        phone.issued,
        phone.and_others(tablet=tablet),
    ):
        codes.enroll(NAME, issued, phone.known)
        assert not _enters(used)
        assert not _enters(phone.emergency[0])
        assert len(codes.read(codes.SPENT, NAME)["wrong"]) == 1
    assert _enters(tablet.code())
    assert not _enters(other.code())  # a wrong code by now
    # Gone and back, it still knows what it was used for.
    codes.enroll(NAME, phone.issued, phone.known)
    assert not _enters(tablet.code())
    codes.enroll(NAME, phone.and_others(tablet=tablet), phone.known)
    assert not _enters(tablet.code())
    assert _enters(phone.code(1))


def test_without_the_enrollments_own_phone_the_others_open(phone: Phone) -> None:
    tablet = Phone()
    issued = phone.and_others(tablet=tablet)
    del issued["secret"]
    codes.enroll(NAME, issued, phone.known)
    _calm(10)
    assert not _enters(phone.code())
    assert _enters(tablet.code())
    assert _enters(phone.emergency[0])


def test_new_emergency_codes_end_the_old_ones_and_no_phone(phone: Phone) -> None:
    sheet, again = Phone(), Phone()
    assert _enters(phone.emergency[0])
    codes.enroll(NAME, phone.and_others(codes=sheet), phone.known)
    assert not any(map(_enters, phone.emergency))
    assert _answer(sheet.emergency[0]) == (True, "Emergency code used; 4 left.")
    for left in (3, 2, 1):
        assert str(left) in _answer(sheet.emergency[4 - left])[1]
    _calm()
    entered, words = _answer(phone.code())
    assert entered
    assert words == "Emergency codes left: 1. Your admin makes new ones."
    codes.enroll(NAME, phone.and_others(codes=again), phone.known)
    assert not any(map(_enters, sheet.emergency))
    assert _enters(again.emergency[0])


def test_void_codes_are_mended_by_new_ones_and_by_none_that_were_there_before() -> None:
    phone, sheet = Phone(), Phone()
    codes.enroll(NAME, phone.issued, phone.known)  # the volume is lost
    assert _answer(phone.emergency[0]) == (False, verify.WORDS["void"])
    codes.enroll(NAME, phone.and_others(codes=sheet), phone.known)
    assert _enters(sheet.emergency[0])
    for place in (codes.CODES, codes.SPENT):
        Path(place, f"{NAME}.json").unlink()
    codes.enroll(NAME, phone.and_others(codes=sheet), phone.known | sheet.known)
    assert _answer(sheet.emergency[0]) == (False, verify.WORDS["void"])
    assert _answer(sheet.emergency[1]) == (False, verify.WORDS["void"])


def test_a_volume_of_before_a_further_authenticator_lets_nobody_in(phone: Phone) -> None:
    tablet, sheet = Phone(), Phone()
    folders = (codes.CODES, codes.SPENT)
    yesterday = {path: path.read_text() for each in folders for path in Path(each).iterdir()}
    codes.enroll(NAME, phone.and_others(sheet, tablet=tablet), phone.known)
    _calm(10)
    code = tablet.code()
    assert _enters(code)
    assert _enters(sheet.emergency[0])
    for path, content in yesterday.items():
        path.write_text(content)
    for answer in (code, phone.code(), phone.emergency[0], sheet.emergency[0]):
        with pytest.raises(codes.CodesError):
            _answer(answer)
    codes.enroll(NAME, phone.and_others(sheet, tablet=tablet), phone.known)
    assert not _enters(code)
    assert _answer(sheet.emergency[0]) == (False, verify.WORDS["void"])
    assert not _enters(phone.emergency[0])


@pytest.mark.parametrize("time", [1, 2, 3])
def test_cut_off_while_codes_are_renewed_no_old_one_is_good_again(phone: Phone, time: int) -> None:
    sheet = Phone()
    assert _enters(phone.emergency[0])
    wanted = phone.and_others(codes=sheet)
    _cut("rename", time, lambda: codes.enroll(NAME, wanted, phone.known))
    with suppress(codes.CodesError):
        assert not _enters(phone.emergency[0])
    codes.enroll(NAME, wanted, phone.known)
    assert _enters(sheet.emergency[0])
    assert not any(map(_enters, [sheet.emergency[0], *phone.emergency]))


def test_a_volume_of_before_a_rotation_has_void_codes_whatever_their_id(phone: Phone) -> None:
    """As `rotate` leaves it for who had new emergency codes once: they have an id of their own."""
    renewed, sheet, tablet = Phone(), Phone(), Phone()
    folders = (codes.CODES, codes.SPENT)
    yesterday = {path: path.read_text() for each in folders for path in Path(each).iterdir()}
    wanted = renewed.and_others(sheet, tablet=tablet)
    codes.enroll(NAME, wanted)
    _calm(10)
    code = tablet.code()
    assert _enters(code)
    assert _enters(sheet.emergency[0])
    for path, content in yesterday.items():
        path.write_text(content)
    codes.enroll(NAME, wanted)
    assert _answer(sheet.emergency[0]) == (False, verify.WORDS["void"])
    assert _answer(sheet.emergency[1]) == (False, verify.WORDS["void"])
    assert not _enters(code)


def test_new_codes_are_good_where_the_old_ones_were_never_there() -> None:
    """As for who had a security key alone, and changes to a method with codes."""
    phone, sheet = Phone(), Phone()
    codes.enroll(NAME, phone.and_others(codes=sheet), phone.known)
    assert _enters(sheet.emergency[0])


def test_a_method_without_codes_lifts_no_freeze_and_forgets_no_used_code(phone: Phone) -> None:
    assert _enters(phone.emergency[0])
    for _ in range(30):
        _enters(phone.wrong())
    codes.withdraw(NAME)
    assert _answer(phone.emergency[1]) == (False, None)
    codes.enroll(NAME, phone.issued, phone.known)
    assert _answer(phone.emergency[1]) == (False, verify.WORDS["frozen"])
    codes.forget(NAME)
    assert not list(Path(codes.SPENT).iterdir())


def test_what_the_enrollment_itself_issued_never_comes_back(phone: Phone) -> None:
    sheet, tablet = Phone(), Phone()
    without = phone.and_others(sheet, tablet=tablet)
    del without["secret"]
    codes.enroll(NAME, without, phone.known)
    for wanted in (phone.issued, phone.and_others(sheet, tablet=tablet)):
        with pytest.raises(codes.CodesError, match="phone was ended"):
            codes.enroll(NAME, wanted, phone.known)
    again = phone.and_others(tablet=tablet)
    del again["secret"]
    with pytest.raises(codes.CodesError, match="emergency codes were ended"):
        codes.enroll(NAME, again, phone.known)
    assert not _enters(phone.code())


def test_guesses_count_once_however_many_authenticators_there_are(phone: Phone) -> None:
    codes.enroll(NAME, phone.and_others(tablet=Phone(), token=Phone()), phone.known)
    for _ in range(30):
        assert not _enters(phone.wrong())
    assert _answer(phone.code()) == (False, verify.WORDS["frozen"])
    # Nor does a further one lift the freeze.
    codes.enroll(NAME, phone.and_others(tablet=Phone()), phone.known)
    assert _answer(phone.code()) == (False, verify.WORDS["frozen"])


def test_the_verifier_reckons_as_the_standard_does() -> None:
    # RFC 6238, appendix B, in six digits.
    secret = b"12345678901234567890"
    assert verify.totp(secret, 59 // STEP) == "287082"
    assert verify.totp(secret, 20000000000 // STEP) == "353130"
    # RFC 2202, test case 1.
    digest = verify.hmac_sha1(b"\x0b" * 20, b"Hi There")
    assert digest.hex() == "b617318655057264e28bc0b6fb378c8ef146be00"
