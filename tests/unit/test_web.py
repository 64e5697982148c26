"""Access by HTTPS as people ask for it, and what is derived and vouched for."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from cli.engine import Enrollment, Machine
from infra import web
from infra.aws import checks as aws_checks
from infra.aws.network import egress, ingress
from infra.enrollment import derive
from infra.local.checks import check_requests
from infra.model.folder import read_folder
from infra.model.person import InstanceRequest, remember_hours
from infra.plan import Plan
from tests.support.documents import SEED
from tests.support.plans import aws_settings, make_plan
from tests.support.request_files import IMAGE, KEY, request_text

if TYPE_CHECKING:
    from pathlib import Path

ID = "0123456789abcdef" * 2
TODAY = dt.date(2026, 11, 27)
EVERYWHERE = ("127.0.0.0/8",)
AWS = {
    "target": "aws",
    "tensorflowImage": IMAGE,
    "zones": "eu-west-1a",
    "onDestroy": "delete",
    "baseImage": "ami-0123456789abcdef0",
}


def request(**said: Any) -> InstanceRequest:
    usual = {"researcher": "alice", "ssh_keys": (KEY,), "enrollment": ID}
    return InstanceRequest(**{**usual, "allowed_from": EVERYWHERE, **said})


def test_the_derivation_is_pinned() -> None:
    one = derive(SEED, stack="demo", machine="lab", researcher="alice", enrollment=ID, by_web=True)
    assert one.entry["web_passphrase"] == "bhd3a-hmm5k-3ngau-z42sp"
    before = derive(SEED, stack="demo", machine="lab", researcher="alice", enrollment=ID)
    assert one.entry.items() > before.entry.items()
    assert "web_passphrase" not in before.entry
    made = web.certificate(SEED, stack="demo", machine="lab", today=TODAY)
    authority = x509.load_pem_x509_certificate(web.authority(SEED, "demo").encode())
    found = [authority.fingerprint(hashes.SHA256()).hex()[:16]]
    leaf = x509.load_pem_x509_certificate(made.certificate.encode())
    found.append(leaf.fingerprint(hashes.SHA256()).hex()[:16])
    assert found == ["357377ca1cad483a", "0a593069b1acac10"]


def test_a_long_name_is_one_too() -> None:
    stack = "s" * 63
    made = web.certificate(SEED, stack=stack, machine="m" * 32, today=TODAY)
    assert max(map(len, made.host.split("."))) <= 63
    assert web.host_of("Demo_", "lab_") == "lab.demo.localhost"


def test_the_same_certificate_each_day_of_half_a_year() -> None:
    def of(day: dt.date) -> web.Certificate:
        return web.certificate(SEED, stack="demo", machine="lab", today=day)

    assert of(TODAY) == of(dt.date(2026, 7, 1))
    later = of(dt.date(2027, 1, 1))
    assert later.key == of(TODAY).key
    serials = {
        x509.load_pem_x509_certificate(each.certificate.encode()).serial_number
        for each in (later, of(TODAY))
    }
    assert len(serials) == 2


def test_openssl_takes_it_for_the_persons_own_names_and_no_other(tmp_path: Path) -> None:
    made = web.certificate(SEED, stack="de_Mo", machine="l_ab", today=TODAY)
    assert made.host == "l-ab.de-mo.localhost"
    (tmp_path / "ca").write_text(web.authority(SEED, "de_Mo"))
    (tmp_path / "leaf").write_text(made.certificate)
    for name, good in (
        (made.host, True),
        (f"alice.{made.host}", True),
        (f"a.b.{made.host}", False),
        ("localhost", False),
    ):
        assert _verifies(tmp_path, name) is good, name


def test_the_authority_can_vouch_for_nothing_beyond_the_stack(tmp_path: Path) -> None:
    """Whoever had its key could not pass for the bank of a person whose browser trusts it."""
    (tmp_path / "ca").write_text(web.authority(SEED, "demo"))
    signer, key = web._key(SEED, "web-authority", "demo"), ec.generate_private_key(ec.SECP256R1())
    built = web._builder(SEED, web._name("x"), web._name("Secondlock demo"), key, ("x",))
    for name, good in (
        (x509.DNSName("lab.demo.localhost"), True),
        (x509.DNSName("bank.example"), False),
        (x509.IPAddress(ipaddress.ip_address("192.0.2.7")), False),
        (x509.IPAddress(ipaddress.ip_address("2001:db8::7")), False),
        (x509.RFC822Name("chief@bank.example"), False),
    ):
        names = [x509.DNSName("lab.demo.localhost"), name]
        leaf = (
            built.not_valid_before(web._SINCE)
            .not_valid_after(web._AUTHORITY_UNTIL)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        (tmp_path / "leaf").write_text(web._signed(leaf, signer))
        assert _verifies(tmp_path, "lab.demo.localhost") is good, name
        assert not _verifies(tmp_path, "lab.demo.localhost", "smimesign"), name


def _verifies(place: Path, name: str, purpose: str = "sslserver") -> bool:
    argv = ["openssl", "verify", "-CAfile", str(place / "ca"), "-verify_hostname", name]
    argv += ["-purpose", purpose]
    moment = str(int(dt.datetime(2026, 11, 27, tzinfo=dt.timezone.utc).timestamp()))
    done = subprocess.run([*argv, "-attime", moment, str(place / "leaf")], capture_output=True)
    return done.returncode == 0


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"access": ("ssh", "web")}, "no network"),
        ({"access": ()}, "no way in"),
        ({"access": ("web", "web")}, "twice"),
        ({"access": ("ftp",)}, "ssh"),
        ({"web_allowed_from": EVERYWHERE}, "says nothing without `web`"),
        ({"access": ("web",), "web_allowed_from": ("0.0.0.0/0",)}, "open to the world"),
        ({"access": ("web",), "web_allowed_from": EVERYWHERE, "factors": "fido2"}, "takes a code"),
        (
            {"access": ("web",), "web_allowed_from": EVERYWHERE, "researcher": "a_b"},
            "a web address can have",
        ),
        ({"access": ("ssh", "web"), "web_allowed_from": EVERYWHERE, "ssh_keys": ()}, "key"),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        request(**said)


def test_who_has_the_web_alone_needs_no_key_and_is_not_remembered() -> None:
    alone = request(access=("web",), web_allowed_from=EVERYWHERE, ssh_keys=())
    assert remember_hours(alone, 8) == 0
    assert remember_hours(request(), 8) == 8


def write_request(folder: Path, name: str, **said: str) -> None:
    (folder / f"{name}.yaml").write_text(request_text(researcher=name, **said))


def plan(folder: Path, **said: str) -> Plan:
    write_request(folder, "alice", **said)
    return make_plan("demo", folder, {}, SEED)


def test_who_says_nothing_of_it_has_what_they_had(tmp_path: Path) -> None:
    roster = json.loads(plan(tmp_path).machines[0].roster)
    assert "web" not in roster
    assert not {"access", "web_passphrase", "web_from"} & set(roster["researchers"]["alice"])


def test_the_plan_has_the_door_of_those_who_have_it(tmp_path: Path) -> None:
    made = plan(tmp_path, access="[web]", web_allowed_from="[127.0.0.0/8]")
    (machine,) = made.machines
    roster = json.loads(machine.roster)
    assert (machine.web_from, machine.web_alone) == (EVERYWHERE, ("alice",))
    assert roster["web"]["allowed_from"] == ["127.0.0.0/8"]
    assert roster["researchers"]["alice"]["web_from"] == ["127.0.0.0/8"]
    assert roster["allowed_from"] == []  # nobody comes by SSH
    shown = made.enrollments["alice"]
    assert shown["web_passphrase"] == roster["researchers"]["alice"]["web_passphrase"]
    assert shown["web"]["host"] == "alice.alice.demo.localhost"
    assert "PRIVATE" not in json.dumps(shown)


def test_enroll_shows_the_passphrase_and_of_the_method_what_is_asked_for(tmp_path: Path) -> None:
    both = plan(tmp_path, access="[ssh, web]", web_allowed_from="[127.0.0.0/8]")
    shown = Enrollment.model_validate(both.enrollments["alice"])
    passphrase = both.enrollments["alice"]["web_passphrase"]
    assert passphrase in shown.steps(in_words=False)[-1]
    assert shown.fields()["web_passphrase"] == passphrase
    assert passphrase not in repr(shown)
    assert passphrase not in shown.emergency_step()
    passwords = {"factors": "password+totp", "ssh_keys": ""}
    alone = plan(tmp_path, access="[web]", web_allowed_from="[127.0.0.0/8]", **passwords)
    words = "".join(Enrollment.model_validate(alone.enrollments["alice"]).steps(in_words=True))
    assert "before the code" not in words  # SSH's password
    assert "otpauth://" in words


def test_whoever_has_no_ssh_is_in_no_ssh_config() -> None:
    known = {"address": "127.0.0.1", "port": 20001, "host_key": KEY, "running": True, "serial": 1}
    people = {"researchers": ["alice", "bob"], "web_alone": ["bob"], "web_port": 20002}
    made = Machine.model_validate({**known, **people, "target": "local"})
    assert made.by_ssh == ("alice",)


@pytest.mark.parametrize(
    ("said", "settings", "told"),
    [
        ({}, {}, ["the stack has no domain for browsers to find it by"]),
        ({}, {"webDomain": "gpu.example.org"}, []),
        (
            {"machine": "{public: false}"},
            {"webDomain": "gpu.example.org"},
            ["no browser reaches a private machine"],
        ),
    ],
)
def test_in_ec2_browsers_need_a_name_and_an_address(
    tmp_path: Path, said: dict[str, str], settings: dict[str, str], told: list[str]
) -> None:
    networks = {"allowed_from": "[192.0.2.0/24]", "web_allowed_from": "[198.51.100.0/24]"}
    write_request(tmp_path, "alice", access="[ssh, web]", **networks, **said)
    asked, _ = read_folder(tmp_path)
    found = aws_checks.check_requests(asked, aws_settings(**settings))
    assert [problem.what.partition(": ")[2] for problem in found] == told


def test_in_ec2_the_security_group_lets_browsers_in_from_their_networks_alone(
    tmp_path: Path,
) -> None:
    networks = {"allowed_from": "[192.0.2.0/24]", "web_allowed_from": "[198.51.100.0/24]"}
    write_request(tmp_path, "alice", access="[ssh, web]", **networks)
    settings = {**AWS, "webDomain": "gpu.example.org"}
    (machine,) = make_plan("demo", tmp_path, settings, SEED).machines
    rules = {rule["to_port"]: rule["cidr_blocks"] for rule in ingress(machine)}
    assert rules == {22: ["192.0.2.0/24"], 443: ["198.51.100.0/24"]}
    assert json.loads(machine.roster)["web"]["host"] == "alice.demo.gpu.example.org"


def test_in_ec2_a_provider_is_reached_by_its_own_port(tmp_path: Path) -> None:
    usual = {80, 443}
    for issuer, ports in (
        ("", usual),
        ("https://id.example.org/realms/lab", usual),
        ("https://id.example.org:8443", usual | {8443}),
    ):
        assert {rule["to_port"] for rule in egress(aws_settings(oidcIssuer=issuer))} == ports


def test_on_this_computer_it_is_for_this_computer(tmp_path: Path) -> None:
    write_request(tmp_path, "alice", access="[ssh, web]", web_allowed_from="[192.0.2.0/24]")
    asked, _ = read_folder(tmp_path)
    (problem,) = check_requests(asked)
    assert "192.0.2.0/24" in problem.what
