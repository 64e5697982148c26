"""Several authenticators of one person: each is bound, shown, renewed and ended by itself."""

from __future__ import annotations

import importlib
import json
import re
from typing import TYPE_CHECKING, Any

import pyotp
import pytest

from cli import enroll, project
from cli.__main__ import main
from cli.engine import Enrollment
from infra.checks import Checked, check_stack
from infra.factors import ids
from infra.factors.totp import LABEL
from infra.model.folder import load_folder
from infra.model.problems import ProblemsError
from infra.model.retired import load_retired
from infra.plan import Plan
from infra.record import Record, refusals
from tests.support.plans import make_plan
from tests.support.request_files import IDS, request_text, security_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEED = "9f1c6d0e7b2a4f538c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d"
VALUES = {"newSeed": "true", "seedFingerprint": "0" * 16}
PLACE = "somewhere"
SIX = f"{{{', '.join(f'd{number}: {IDS[0][:31]}{number}' for number in range(6))}}}"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stack with alice's request."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    folder = tmp_path / "stacks" / "lab"
    folder.mkdir(parents=True)
    (tmp_path / "Pulumi.yaml").write_text("name: lab\nstackConfigDir: stacks\n")
    (tmp_path / "stacks/Pulumi.lab.yaml").write_text("config:\n  secondlock:target: local\n")
    (folder / "alice.yaml").write_text(request_text())
    return folder


@pytest.fixture
def up(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """`pulumi up`, as far as `enroll` sees it; it has happened once."""
    made: dict[str, Any] = {}

    def outputs(_: object) -> dict[str, Enrollment]:
        return {name: Enrollment.model_validate(one) for name, one in made.items()}

    def apply() -> None:
        made.update(_plan(lab).enrollments)

    monkeypatch.setattr(enroll, "enrollments", outputs)
    apply()
    return apply


def _problems(folder: Path) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        load_folder(folder)
    return [str(each) for each in caught.value.problems]


def _plan(folder: Path) -> Plan:
    return make_plan("lab", folder, VALUES, SEED)


def _entry(folder: Path) -> dict[str, Any]:
    """Alice's in the roster of her machine."""
    roster = json.loads(_plan(folder).machines[0].roster)
    return dict(roster["researchers"]["alice"])


def _run(*words: str) -> int:
    return main([*words, "--stack", "lab"])


def _told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert _run(*words, "--json") == 0
    return dict(json.loads(capsys.readouterr().out))


def _secrets(folder: Path) -> dict[str, str]:
    """By authenticator."""
    entry = _entry(folder)
    if "totp_secret" in entry:
        return {"phone": entry["totp_secret"]}
    return {name: each["totp_secret"] for name, each in entry["authenticators"].items()}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"authenticators": "{}"}, "5: authenticators: no authenticator: nobody could log in"),
        ({"authenticators": f'{{phone: "{IDS[1]}", tab: "{IDS[1]}"}}'}, "have the same id"),
        ({"authenticators": f'{{Phone: "{IDS[1]}"}}'}, "authenticators.Phone: 'Phone' cannot be"),
        ({"authenticators": "{phone: x}"}, "5: authenticators.phone: not 32 lower-case hex"),
        (
            {"authenticators": SIX},
            "6 of them, and there may be at most 5",
        ),
        ({"emergency_codes": '"x"'}, "5: emergency_codes: not 32 lower-case hex"),
    ],
)
def test_a_mistake_is_told_with_its_line(lab: Path, fields: dict[str, str], expected: str) -> None:
    (lab / "alice.yaml").write_text(request_text(**fields))
    (found,) = _problems(lab)
    assert expected in found


def test_two_people_share_no_authenticator(lab: Path) -> None:
    (lab / "bob.yaml").write_text(
        request_text(
            researcher="bob",
            ssh_keys="",
            factors="password+totp",
            enrollment=f'"{IDS[1]}"',
            authenticators=f'{{phone: "{IDS[1]}", hers: "{IDS[0]}"}}',
        )
    )
    (found,) = _problems(lab)
    assert "bob.yaml:5: authenticators.hers: alice.yaml has the same enrollment" in found


def test_the_one_phone_named_is_the_one_phone(lab: Path) -> None:
    before = _plan(lab)
    (lab / "alice.yaml").write_text(
        request_text(authenticators=f'{{phone: "{IDS[0]}"}}', emergency_codes=f'"{IDS[0]}"')
    )
    after = _plan(lab)
    assert after.machines[0].roster == before.machines[0].roster
    assert after.enrollments == before.enrollments


def test_a_further_one_leaves_the_phone_and_the_codes_as_they_are(
    lab: Path, up: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    before, text = _entry(lab), (lab / "alice.yaml").read_text()
    assert _run("enroll", "alice", "--device", "tablet") == 0
    said = capsys.readouterr().out
    assert "pulumi up --stack lab" in said
    assert "enroll alice --device tablet" in said
    after = _entry(lab)
    assert _secrets(lab)["phone"] == before["totp_secret"]
    assert after["emergency_codes"] == before["emergency_codes"]
    assert _secrets(lab)["tablet"] != before["totp_secret"]
    assert text.splitlines()[:3] == (lab / "alice.yaml").read_text().splitlines()[:3]
    # It is shown only once the stack has it.
    assert _run("enroll", "alice", "--device", "tablet", "--force") == 1
    assert "has no authenticator tablet of alice yet" in capsys.readouterr().err
    up()
    shown = _told(capsys, "enroll", "alice", "--device", "tablet")
    assert pyotp.parse_uri(shown["uri"]).secret == _secrets(lab)["tablet"]
    assert "emergency_codes" not in shown
    assert _run("enroll", "alice", "--device", "tablet", "--force") == 0
    screen = capsys.readouterr().out
    assert "▀" in screen
    assert not any(code in screen for code in after["emergency_codes"])
    assert _run("enroll", "alice", "--force", "--show-uri") == 0
    screen = capsys.readouterr().out
    assert all(secret in screen for secret in _secrets(lab).values())
    assert all(code in screen for code in after["emergency_codes"])
    assert _run("enroll", "alice", "--force", "--png", "qr.png") == 1
    assert "--device NAME" in capsys.readouterr().err


def test_one_is_renewed_and_ended_alone(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for device in ("tablet", "token"):
        _told(capsys, "enroll", "alice", "--device", device)
    before, codes = _secrets(lab), _entry(lab)["emergency_codes"]
    told = _told(capsys, "rotate", "alice", "--device", "tablet")
    assert told["device"] == "tablet"
    renewed = _secrets(lab)
    assert renewed["tablet"] != before["tablet"]
    assert {**renewed, "tablet": ""} == {**before, "tablet": ""}
    _told(capsys, "rotate", "alice", "--device", "phone", "--end-sessions")
    _told(capsys, "revoke", "alice", "--device", "token")
    after = _secrets(lab)
    assert sorted(after) == ["phone", "tablet"]
    assert after["phone"] != before["phone"]
    assert _entry(lab)["emergency_codes"] == codes
    assert _entry(lab)["enrollment"] == IDS[0]
    assert _entry(lab)["end_sessions"] is True
    assert [one.part for one in load_retired(lab)] == [None, "authenticator", None]
    # The last one stays: nobody could log in.
    _told(capsys, "revoke", "alice", "--device", "phone")
    assert _run("revoke", "alice", "--device", "tablet") == 1
    assert "the only authenticator of alice" in capsys.readouterr().err
    assert _run("rotate", "alice", "--device", "nothing") == 1
    assert "has no authenticator nothing (there are: tablet)" in capsys.readouterr().err


def test_new_emergency_codes_leave_the_phones(
    lab: Path, up: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = _entry(lab)
    _told(capsys, "codes", "alice")
    once = _entry(lab)
    assert once["totp_secret"] == before["totp_secret"]
    assert not set(once["emergency_codes"]) & set(before["emergency_codes"])
    _told(capsys, "codes", "alice")
    twice = _entry(lab)
    assert not set(twice["emergency_codes"]) & set(once["emergency_codes"])
    assert [one.part for one in load_retired(lab)] == ["emergency_codes", None]
    # What the stack still has is over, and is not shown.
    assert _run("enroll", "alice", "--codes", "--force") == 1
    assert "is retired" in capsys.readouterr().err
    up()
    assert _run("enroll", "alice", "--codes", "--force") == 0
    screen = capsys.readouterr().out
    assert all(code in screen for code in twice["emergency_codes"])
    assert "▀" not in screen
    assert "otpauth" not in screen


def test_the_ids_of_a_roster_are_those_that_the_machine_finds_in_it(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document: Any = importlib.import_module("guest.roster.document")
    for words in (["enroll", "alice", "--device", "tablet"], ["codes", "alice"]):
        _told(capsys, *words)
        roster = json.loads(_plan(lab).machines[0].roster)
        (there,) = document.parse(json.dumps({"serial": 1, "roster": roster})).researchers.values()
        assert ids(_entry(lab)) == there.ids
    assert len(there.ids) == 3


def test_a_rotation_renews_all_of_them(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _told(capsys, "enroll", "alice", "--device", "tablet")
    _told(capsys, "codes", "alice")
    before, secrets = _entry(lab), _secrets(lab)
    assert _run("rotate", "alice") == 0
    after = _entry(lab)
    assert not set(_secrets(lab).values()) & set(secrets.values())
    assert sorted(_secrets(lab)) == sorted(secrets)
    assert not set(after["emergency_codes"]) & set(before["emergency_codes"])
    gone = {before["enrollment"], before["codes_enrollment"]}
    gone |= {one["enrollment"] for one in before["authenticators"].values()}
    assert gone <= {one.enrollment for one in load_retired(lab) if one.part is None}


def test_a_mapping_with_comments_keeps_them(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = request_text() + (
        "authenticators:  # what she has\n"
        f'  phone: "{IDS[0]}"  # Pixel\n'
        f'  tablet: "{IDS[2]}"  # at home\n'
    )
    (lab / "alice.yaml").write_text(text)
    _told(capsys, "rotate", "alice", "--device", "tablet")
    now = (lab / "alice.yaml").read_text()
    assert re.sub(r'(tablet: ")[0-9a-f]{32}', rf"\g<1>{IDS[2]}", now) == text


@pytest.mark.parametrize("words", [["rotate", "alice", "--device", "phone"], ["codes", "alice"]])
def test_cut_off_in_between_the_request_is_refused_until_it_is_run_again(
    lab: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cli.authenticators.write_whole", cut_off)
        assert _run(*words) == 130
    with pytest.raises(ProblemsError, match=f"retired on .*{words[0]} alice"):
        load_folder(lab)
    assert _run(*words) == 0
    assert len(load_folder(lab).people) == 1


def test_an_old_commit_brings_no_ended_authenticator_back(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = (lab / "alice.yaml").read_text()
    _told(capsys, "enroll", "alice", "--device", "tablet")
    _told(capsys, "rotate", "alice", "--device", "phone")
    both = (lab / "alice.yaml").read_text()
    _told(capsys, "revoke", "alice", "--device", "tablet")
    for text, place in ((first, "authenticators.phone"), (both, "authenticators.tablet")):
        (lab / "alice.yaml").write_text(text)
        with pytest.raises(ProblemsError, match=f"{place}: retired on"):
            load_folder(lab)


def test_a_clone_that_is_behind_undoes_no_change_of_an_authenticator(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = _plan(lab)
    assert "issued" not in str(Record.of(stale, PLACE))  # as releases before this one wrote it
    _told(capsys, "enroll", "alice", "--device", "tablet")
    further = _plan(lab)
    _told(capsys, "rotate", "alice", "--device", "phone")
    _told(capsys, "codes", "alice")
    now = _plan(lab)

    def refused(held: Plan, wanted: Plan) -> list[str]:
        record = Record.parse(str(Record.of(held, PLACE)))
        return [str(each) for each in refusals(record, wanted, PLACE)]

    # Forwards nothing stands in the way.
    assert refused(stale, further) == refused(further, now) == refused(now, now) == []
    assert any("another one" in one for one in refused(further, stale))
    old = refused(now, further)
    assert any("authenticators.phone: the stack has seen it retired" in one for one in old)
    assert any("emergency_codes: the stack has seen it retired" in one for one in old)


@pytest.mark.parametrize("stack", ["lab", "a-stack-with-a-long-name-of-some-forty-signs-in-all"])
def test_names_fit_a_yubikey(lab: Path, capsys: pytest.CaptureFixture[str], stack: str) -> None:
    _told(capsys, "enroll", "alice", "--device", "yubikey")
    made = make_plan(stack, lab, VALUES, SEED).enrollments["alice"]
    uri = pyotp.parse_uri(made["authenticators"]["yubikey"]["uri"])
    assert len(f"{uri.issuer}:{uri.name}".encode()) <= LABEL
    assert "alice" in uri.name


def test_who_logs_in_without_codes_has_none(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = request_text(factors="fido2", ssh_keys=f"[{security_key()}]")
    (lab / "alice.yaml").write_text(text)
    for words in (["codes", "alice"], ["enroll", "alice", "--device", "tablet"]):
        assert _run(*words) == 1
        assert "a login by fido2 asks for no code" in capsys.readouterr().err
    assert (lab / "alice.yaml").read_text() == text


@pytest.mark.parametrize(
    ("stack", "own", "hours"), [("0", "", 0), ("8", "", 8), ("8", "2", 2), ("8", "0", 0)]
)
def test_who_is_remembered_and_for_how_long(lab: Path, stack: str, own: str, hours: int) -> None:
    (lab / "alice.yaml").write_text(request_text(remember_hours=own))
    plan = make_plan("lab", lab, {**VALUES, "rememberHours": stack}, SEED)
    (machine,) = plan.machines
    entry = json.loads(machine.roster)["researchers"]["alice"]
    assert dict(machine.remember) == ({"alice": hours} if hours else {})
    known = {"hours": hours, "allowed_from": ["127.0.0.0/8"]} if hours else None
    assert entry.get("remember") == known


def test_nobody_is_remembered_for_longer_than_the_stack_allows(lab: Path) -> None:
    (lab / "alice.yaml").write_text(request_text(remember_hours="9"))
    (found,) = _checked(lab, rememberHours="8").problems
    assert f"{lab / 'alice.yaml'}:5: remember_hours: more than the stack's 8" in str(found)
    assert "secondlock:rememberHours 9 --stack lab" in str(found)
    for wrong in ("13", "-1", "2.5", "yes"):
        (found,) = _checked(lab, rememberHours=wrong).problems
        assert "secondlock:rememberHours: expected 0, 1" in str(found)


def _checked(lab: Path, **settings: str) -> Checked:
    config = {f"secondlock:{key}": value for key, value in {**VALUES, **settings}.items()}
    return check_stack("lab", lab.parents[1], config)


def test_what_stands_for_a_password_or_a_token_too_takes_a_word_of_ones_own(lab: Path) -> None:
    for own, hours in (("", {}), ("3", {"alice": 3})):
        text = request_text(factors="password+totp", ssh_keys="", remember_hours=own)
        (lab / "alice.yaml").write_text(text)
        (machine,) = make_plan("lab", lab, {**VALUES, "rememberHours": "8"}, SEED).machines
        assert dict(machine.remember) == hours


@pytest.mark.parametrize("nothing", ["", "null", "~"])
def test_an_empty_field_brings_no_ended_codes_back(
    lab: Path, capsys: pytest.CaptureFixture[str], nothing: str
) -> None:
    _told(capsys, "codes", "alice")
    (lab / "alice.yaml").write_text(f"{request_text()}emergency_codes: {nothing}\n")
    (found,) = _problems(lab)
    assert "emergency_codes: retired on" in found
    assert "./secondlock codes alice" in found


def test_who_gives_the_phone_up_for_a_token_is_not_asked_for_another(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _told(capsys, "rotate", "alice", "--device", "phone")
    text = request_text(factors="fido2", ssh_keys=f"[{security_key()}]")
    (lab / "alice.yaml").write_text(text)
    assert len(load_folder(lab).people) == 1


def test_a_method_without_codes_gives_no_device_up_in_silence(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _told(capsys, "enroll", "alice", "--device", "tablet")
    record, both = Record.of(_plan(lab), PLACE), (lab / "alice.yaml").read_text()
    token = request_text(factors="fido2", ssh_keys=f"[{security_key()}]")
    (lab / "alice.yaml").write_text(token)
    (found,) = refusals(record, _plan(lab), PLACE)
    assert "which is not retired here" in str(found)
    (lab / "alice.yaml").write_text(both)
    _told(capsys, "revoke", "alice", "--device", "tablet")
    (lab / "alice.yaml").write_text(token)
    assert refusals(record, _plan(lab), PLACE) == []
