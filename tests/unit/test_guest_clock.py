"""How a machine in EC2 measures its clock: against a time server, on the loopback."""

from __future__ import annotations

import importlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

clockwatch: Any = importlib.import_module("guest.clock.watch")
clock: Any = importlib.import_module("guest.clock.measured")


def _answer(asked: bytes, ahead: float = 0.0, stratum: int = 4, cookie: bytes = b"") -> bytes:
    """As RFC 5905, figure 8: the server's receipt and answer at one time."""
    now = time.time() + ahead + clockwatch.NTP_EPOCH
    stamp = struct.pack(">II", int(now), int(now % 1 * 2**32))
    head = bytes([0x24, stratum]) + bytes(22)
    return head + (cookie or asked[40:48]) + stamp + stamp


@pytest.fixture
def server() -> Iterator[tuple[tuple[str, int], list[Callable[[bytes], bytes]]]]:
    """A time server's address, and how it answers."""
    answers: list[Callable[[bytes], bytes]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                asked, peer = listener.recvfrom(512)
                if not asked:
                    return
                listener.sendto(answers[-1](asked), peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname(), answers
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", listener.getsockname())
        thread.join(10)


@pytest.mark.parametrize("ahead", [0.0, 660.0, -3600.25])
def test_a_time_servers_answer_is_measured(server: Any, ahead: float) -> None:
    address, answers = server
    answers.append(lambda asked: _answer(asked, ahead))
    now, offset = clockwatch.server_sample(address)
    assert abs(now / 1e9 - time.time()) < 5
    assert offset == pytest.approx(ahead, abs=0.2)


@pytest.mark.parametrize(
    "answer",
    [
        lambda asked: _answer(asked, 660, cookie=b"\1" * 8),
        lambda asked: _answer(asked, 660, stratum=0),
        lambda asked: _answer(asked, 660, stratum=16),
        lambda asked: _answer(asked, 660)[:40],
        lambda asked: asked,
    ],
    ids=["of another question", "kiss of death", "without a source", "short", "an echo"],
)
def test_an_answer_that_proves_nothing_is_refused(server: Any, answer: Any) -> None:
    address, answers = server
    answers.append(answer)
    with pytest.raises(ValueError, match=r"no answer|does not know"):
        clockwatch.server_sample(address)


def test_a_note_grows_old(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "NOTE", str(tmp_path / "clock.json"))
    assert clock.offset() is None
    clock.note(1.5, "aws")
    assert clock.offset() == 1.5
    later = time.clock_gettime(time.CLOCK_BOOTTIME) + clock.FRESH + 1
    monkeypatch.setattr(clock.time, "clock_gettime", lambda _: later)
    assert clock.offset() is None


def test_a_machine_that_stood_still_knows_it_before_the_next_measurement(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtc = tmp_path / "since_epoch"
    rtc.write_text(f"{int(time.time()) + 660}\n")
    monkeypatch.setattr(clock, "NOTE", str(tmp_path / "clock.json"))
    monkeypatch.setattr(clock, "RTC", str(rtc))
    clock.note(0.001, "host")
    assert clock.offset() == pytest.approx(660, abs=2)
    clock.note(0.001, "aws")  # there the real-time clock is nobody's reference
    assert clock.offset() == 0.001


@pytest.fixture
def sets(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By how many seconds the clock was set."""
    found: list[float] = []
    monkeypatch.setattr(clock, "NOTE", str(tmp_path / "clock.json"))
    monkeypatch.setattr(clockwatch, "_set", found.append)
    return found


@pytest.mark.parametrize("source", ["host", "aws"])
@pytest.mark.parametrize("offset", [660.0, -50.0])
def test_a_clock_that_is_far_off_is_set_and_noted(
    sets: list[float], source: str, offset: float
) -> None:
    assert clockwatch.watch(lambda: (0, offset), source) is None
    assert sets == [offset]
    assert clock.offset() == 0.0


def test_whoever_was_kept_waiting_for_an_answer_sets_no_clock(sets: list[float]) -> None:
    late = iter([(0, -5.0), (0, -4.0), (0, 0.002)])
    assert clockwatch.watch(lambda: next(late), "aws") is None
    assert sets == []


def test_what_is_nearly_right_is_left_to_chrony(sets: list[float]) -> None:
    assert clockwatch.watch(lambda: (0, 0.04), "host") == (0, 0.04)
    assert sets == []
    assert clock.offset() == 0.04


def test_without_an_answer_nothing_is_known(sets: list[float]) -> None:
    def silent() -> tuple[int, float]:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        clockwatch.watch(silent, "aws")
    assert sets == []
    assert clock.offset() is None
