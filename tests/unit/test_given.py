"""A certificate for browsers, and a provider, that a stack is given: what is good enough."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cli.engine import Enrollment
from infra.checks import SECRETS, check_stack, checked_plan
from infra.enrollment import fingerprint
from infra.given import expiry, read_given
from infra.model.problems import ProblemsError, RefusedError
from infra.model.settings import load_settings
from tests.support.documents import SEED
from tests.support.gateway import asked
from tests.support.request_files import request_text

if TYPE_CHECKING:
    from pathlib import Path

STACK, NOW = "lab", dt.datetime.now(dt.timezone.utc)
HOST = "alice.lab.gpu.example.org"
CONFIG = {
    "secondlock:enrollmentSeed": SEED,
    "secondlock:seedFingerprint": fingerprint(SEED),
    "secondlock:target": "aws",
    "secondlock:zones": "eu-west-1a",
    "secondlock:onDestroy": "delete",
    "secondlock:baseImage": "ami-0123456789abcdef0",
    "secondlock:tensorflowImage": "example.org/tf@sha256:" + "0a" * 32,
    "secondlock:webDomain": "gpu.example.org",
    "aws:region": "eu-west-1",
}


@dataclass
class Issuer:
    """An authority, or whoever takes themselves for one."""

    key: Any
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def pem(key: Any, **said: Any) -> str:
    usual: dict[str, Any] = {
        "encoding": serialization.Encoding.PEM,
        "format": serialization.PrivateFormat.PKCS8,
        "encryption_algorithm": serialization.NoEncryption(),
    }
    return str(key.private_bytes(**{**usual, **said}).decode())


def issue(
    names: tuple[str, ...] = (HOST, f"*.{HOST}"),
    *,
    by: Issuer | None = None,
    key: Any = None,
    ca: bool = False,
    begins: int = -1,
    ends: int = 90,
    usage: Any = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Issuer:
    """A certificate for these names, from and to these days from now on."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Number {serial % 10**9}")])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW + dt.timedelta(days=begins))
        .not_valid_after(NOW + dt.timedelta(days=ends))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        built = built.add_extension(alternative, critical=False)
        built = built.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    signer = key if by is None else by.key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issuer(key, built.sign(signer, algorithm))


AUTHORITY = issue(ca=True, ends=1000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose alice comes in a browser."""
    folder = tmp_path / "stacks" / STACK
    folder.mkdir(parents=True)
    networks = {"allowed_from": "[192.0.2.0/24]", "web_allowed_from": "[198.51.100.0/24]"}
    text = request_text(access="[ssh, web]", **networks)
    (folder / "alice.yaml").write_text(text)
    return tmp_path


def told(root: Path, certificate: str, key: str) -> list[str]:
    """What is wrong with a stack that is given these; never is a key quoted."""
    given = {"secondlock:webCertificate": certificate, "secondlock:webKey": key}
    checked = check_stack(STACK, root, {**CONFIG, **given}, encrypted=SECRETS)
    found = [str(problem) for problem in checked.problems]
    lines = [line for line in key.splitlines() if "-----" not in line and len(line) > 20]
    assert not any(line in problem for line in lines for problem in found)
    return found


def test_a_good_one_reaches_the_roster_in_place_of_the_stacks_own(root: Path) -> None:
    leaf = issue(by=AUTHORITY)
    # As people get them: with words between, a carriage return, the key in an older form.
    chain = f"subject=leaf\r\n{leaf.pem}\n\n# Issuer\n{AUTHORITY.pem}".replace("\n", "\r\n")
    key = pem(leaf.key, format=serialization.PrivateFormat.TraditionalOpenSSL)
    assert told(root, chain, key) == []
    given = {"secondlock:webCertificate": chain, "secondlock:webKey": key}
    plan = checked_plan(STACK, {**CONFIG, **given}, encrypted=SECRETS, root=root)
    web = json.loads(plan.machines[0].roster)["web"]
    assert web["certificate"] == leaf.pem + AUTHORITY.pem
    assert web["key"] == pem(leaf.key)
    assert web["ends"] == int(leaf.certificate.not_valid_after_utc.timestamp())
    assert asked.read_door(web).certificate == web["certificate"]  # the machine's own reader
    assert "authority" not in plan.enrollments["alice"]["web"]
    assert pem(leaf.key).splitlines()[1] not in repr(plan)
    assert pem(leaf.key).splitlines()[1] not in repr(plan.settings)


def test_openssl_verifies_what_machines_show(root: Path, tmp_path: Path) -> None:
    between = issue(ca=True, by=AUTHORITY, ends=500)
    leaf = issue(by=between, key=rsa.generate_private_key(65537, 2048))
    found = read_given(leaf.pem + between.pem, pem(leaf.key))
    (tmp_path / "chain").write_text(found.chain)
    (tmp_path / "ca").write_text(AUTHORITY.pem)
    argv = ["openssl", "verify", "-CAfile", str(tmp_path / "ca"), "-untrusted"]
    argv += [str(tmp_path / "chain"), "-verify_hostname", f"bob.{HOST}", str(tmp_path / "chain")]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_what_is_wrong_is_told_with_what_mends_it(root: Path) -> None:
    leaf, other = issue(by=AUTHORITY), issue(by=AUTHORITY)
    stranger = issue(ca=True)
    weak = issue(key=rsa.generate_private_key(65537, 1024))  # noqa: S505
    curve = issue(key=ec.generate_private_key(ec.SECP521R1()))
    edwards = issue(key=ed25519.Ed25519PrivateKey.generate())
    locked = pem(leaf.key, encryption_algorithm=serialization.BestAvailableEncryption(b"x"))
    torn = leaf.pem[:200] + leaf.pem[-60:]
    for certificate, key, what in (
        (leaf.pem, pem(other.key), "the key is another certificate's"),
        (leaf.pem, "", "has no key"),
        ("", pem(leaf.key), "has no certificate"),
        (leaf.pem, locked, "has a passphrase"),
        (leaf.pem, leaf.pem, "webKey: expected PEM"),
        (pem(leaf.key), pem(leaf.key), "webCertificate: expected PEM"),
        ("none", pem(leaf.key), "webCertificate: expected PEM"),
        (torn, pem(leaf.key), "is none"),
        (leaf.pem, pem(leaf.key).replace("M", "N"), "is none"),
        (leaf.pem + stranger.pem, pem(leaf.key), "was not issued by the one behind it"),
        (AUTHORITY.pem + leaf.pem, pem(AUTHORITY.key), "is an authority's"),
        (leaf.pem + other.pem, pem(leaf.key), "was not issued by the one behind it"),
        (leaf.pem + AUTHORITY.pem * 5, pem(leaf.key), "rests on more than 4"),
        (weak.pem, pem(weak.key), "browsers take a key of"),
        (curve.pem, pem(curve.key), "browsers take a key of"),
        (edwards.pem, pem(edwards.key), "browsers take a key of"),
    ):
        found = told(root, certificate, key)
        assert len(found) == 1, found
        assert what in found[0]
        assert "pulumi config" in found[0]


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"begins": 2}, "begins on"),
        ({"names": (HOST,)}, f"is not good for alice.{HOST}"),
        ({"names": (f"*.{HOST}",)}, f"is not good for {HOST}"),
        # A wildcard is one label, and not a part of one.
        ({"names": ("*.gpu.example.org", "*.lab.gpu.example.org")}, f"good for alice.{HOST}"),
        ({"names": ("lab.gpu.example.org",)}, "is not good for"),
        ({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "is not one of a server's"),
    ],
)
def test_it_has_to_be_for_these_names_and_this_day(
    root: Path, said: dict[str, Any], what: str
) -> None:
    leaf = issue(by=AUTHORITY, **said)
    (found,) = told(root, leaf.pem, pem(leaf.key))
    assert what in found


def test_names_may_stand_there_one_by_one(root: Path) -> None:
    leaf = issue((HOST.upper(), f"alice.{HOST}"))
    assert told(root, leaf.pem, pem(leaf.key)) == []


def test_the_first_that_ends_counts() -> None:
    between = issue(ca=True, by=AUTHORITY, ends=10)
    leaf = issue(by=between)
    found = read_given(leaf.pem + between.pem, pem(leaf.key))
    assert found.ends == between.certificate.not_valid_after_utc


def test_who_may_issue_none_vouches_for_nobody() -> None:
    pretender = issue(by=AUTHORITY)
    leaf = issue(by=pretender)
    with pytest.raises(RefusedError, match="may issue none"):
        read_given(leaf.pem + pretender.pem, pem(leaf.key))


@pytest.mark.parametrize(("days", "said"), [(30, True), (29, True), (31, False), (90, False)])
def test_a_month_before_its_end_it_is_told(days: int, said: bool) -> None:
    leaf = issue(ends=days)
    values = {"webCertificate": leaf.pem, "webKey": pem(leaf.key)}
    note = expiry(load_settings(STACK, values), NOW + dt.timedelta(minutes=1))
    assert (note is not None) is said
    if note is not None:
        assert (note.severity, "ends in" in note.what) == ("note", True)


def test_one_that_has_ended_keeps_nobody_in(root: Path) -> None:
    """Who leaves has to go on that day too: the stack's own certificate stands in for it."""
    leaf = issue(("elsewhere.example.org",), by=AUTHORITY, begins=-90, ends=-1)
    assert told(root, leaf.pem, pem(leaf.key)) == []
    given = {"secondlock:webCertificate": leaf.pem, "secondlock:webKey": pem(leaf.key)}
    config = {**CONFIG, **given}
    plan = checked_plan(STACK, config, encrypted=SECRETS, root=root)
    own = checked_plan(STACK, CONFIG, encrypted=SECRETS, root=root)
    web, as_own = (json.loads(each.machines[0].roster)["web"] for each in (plan, own))
    assert (web["certificate"], web["key"]) == (as_own["certificate"], as_own["key"])
    assert plan.enrollments["alice"]["web"] == own.enrollments["alice"]["web"]
    # The machine goes on telling it, and so do `up` and `doctor`, with what mends it whole.
    assert web["ends"] == int(leaf.certificate.not_valid_after_utc.timestamp())
    values = {"webCertificate": leaf.pem, "webKey": pem(leaf.key)}
    said = expiry(load_settings(STACK, values), NOW)
    assert said is not None
    assert (said.severity, "ended on" in said.what) == ("stop", True)
    for command in ("set secondlock:webCertificate", "set --secret secondlock:webKey"):
        assert f"pulumi config {command}" in str(said.mend)
    for setting in ("webCertificate", "webKey"):
        assert f"pulumi config rm secondlock:{setting} --stack {STACK}" in str(said.mend)
    folder = root / "stacks" / STACK
    text = request_text(researcher="bob", ssh_keys="", enrollment='"' + "ab" * 16 + '"')
    networks = "access: [web]\nweb_allowed_from: [198.51.100.0/24]\n"
    (folder / "bob.yaml").write_text(text.replace("127.0.0.0/8", "192.0.2.0/24") + networks)
    (folder / "alice.yaml").unlink()
    left = checked_plan(STACK, config, encrypted=SECRETS, root=root)
    assert [each for machine in left.machines for each in machine.members] == ["bob"]


def test_its_key_is_to_be_a_secret_of_the_configuration(root: Path) -> None:
    leaf = issue()
    given = {"secondlock:webCertificate": leaf.pem, "secondlock:webKey": pem(leaf.key)}
    clear = [key for key in SECRETS if key != "secondlock:webKey"]
    with pytest.raises(ProblemsError) as found:
        checked_plan(STACK, {**CONFIG, **given}, encrypted=clear, root=root)
    assert "the web's key stands there in clear" in str(found.value)
    assert pem(leaf.key).splitlines()[1] not in str(found.value)


PROVIDER = {
    "secondlock:oidcIssuer": "https://id.example.org/realms/lab",
    "secondlock:oidcClientId": "gpu",
    "secondlock:oidcClientSecret": "s3cret",
}


def test_a_provider_reaches_the_roster_of_those_who_come_by_it(root: Path) -> None:
    file = root / "stacks" / STACK / "alice.yaml"
    config = {**CONFIG, **PROVIDER, "secondlock:oidcAcr": "phr, phrh"}
    before = checked_plan(STACK, config, encrypted=SECRETS, root=root)
    assert "provider" not in json.loads(before.machines[0].roster)["web"]
    file.write_text(file.read_text() + 'oidc: "248289761001"\n')
    plan = checked_plan(STACK, config, encrypted=SECRETS, root=root)
    roster = json.loads(plan.machines[0].roster)
    assert roster["web"]["provider"] == {
        "issuer": "https://id.example.org/realms/lab",
        "client": "gpu",
        "secret": "s3cret",
        "claim": "sub",
        "acr": ["phr", "phrh"],
    }
    person = roster["researchers"]["alice"]
    assert (person["web_identity"], "web_passphrase" in person) == ("248289761001", False)
    assert "web_passphrase" not in plan.enrollments["alice"]
    assert plan.enrollments["alice"]["web"]["provider"] == PROVIDER["secondlock:oidcIssuer"]
    assert "s3cret" not in repr(plan)
    assert asked.read_door(roster["web"]).provider.claim == "sub"


def test_what_is_taken_here_machines_take_too(root: Path) -> None:
    """As authorities come: many at once, with words between, without an end (RFC 5280, 4.1.2.5)."""
    file = root / "stacks" / STACK / "alice.yaml"
    file.write_text(file.read_text() + 'oidc: "1"\n')
    days = (dt.datetime(9999, 12, 31, 23, 59, tzinfo=dt.timezone.utc) - NOW).days
    endless = issue(ca=True, ends=days)
    leaf = issue(by=endless, ends=days)
    spelt = AUTHORITY.pem.replace("\n", "\r\n") + "\r\n# and one more\r\n"
    given = {
        "secondlock:webCertificate": leaf.pem + endless.pem,
        "secondlock:webKey": pem(leaf.key),
        "secondlock:oidcAuthority": spelt * 5,
    }
    config = {**CONFIG, **PROVIDER, **given}
    plan = checked_plan(STACK, config, encrypted=SECRETS, root=root)
    door = asked.read_door(json.loads(plan.machines[0].roster)["web"])
    assert door.provider.authority == AUTHORITY.pem * 5
    config["secondlock:oidcAuthority"] += AUTHORITY.pem
    found = [str(one) for one in check_stack(STACK, root, config, encrypted=SECRETS).problems]
    assert len(found) == 1
    assert "oidcAuthority: not one to 5 certificates" in found[0]


def test_who_comes_by_a_provider_alone_is_shown_an_address_and_nothing_secret(root: Path) -> None:
    file = root / "stacks" / STACK / "alice.yaml"
    text = file.read_text().replace("[ssh, web]", "[web]")
    leaf = issue(by=AUTHORITY)
    given = {"secondlock:webCertificate": leaf.pem, "secondlock:webKey": pem(leaf.key)}
    config = {**CONFIG, **PROVIDER, **given}
    for access, nothing in (("[web]", True), ("[ssh, web]", False)):
        file.write_text(text.replace("[web]", access) + 'oidc: "1"\n')
        plan = checked_plan(STACK, config, encrypted=SECRETS, root=root)
        shown = Enrollment.model_validate(plan.enrollments["alice"])
        assert (shown.scanned() == {}) is nothing
        assert (shown.steps(in_words=True) == []) is nothing
        assert "web_passphrase" not in shown.fields()
        assert shown.web is not None
        assert shown.web.model_dump() == {
            "host": f"alice.{HOST}",
            "authority": None,
            "provider": PROVIDER["secondlock:oidcIssuer"],
        }


@pytest.mark.parametrize(
    ("config", "fields", "what"),
    [
        ({}, 'oidc: "1"', "oidc: the stack names no OpenID provider"),
        ({**PROVIDER, "secondlock:oidcClientSecret": ""}, "", "oidcClientSecret is not set"),
        ({"secondlock:oidcAcr": "phr"}, "", "oidcIssuer is not set"),
        ({**PROVIDER, "secondlock:oidcIssuer": "http://id.example.org"}, "", "expected https://"),
        ({**PROVIDER, "secondlock:oidcIssuer": "https://id.example.org:70000"}, "", "no port"),
        ({**PROVIDER, "secondlock:oidcClaim": "a b"}, "", "a claim's name"),
        (PROVIDER, 'oidc: " 1"', "not 1 to 255"),
        (PROVIDER, "oidc: 248289761001", "oidc"),
        (PROVIDER, "oidc: ä", "not 1 to 255"),
    ],
)
def test_what_a_provider_lacks_is_told(
    root: Path, config: dict[str, str], fields: str, what: str
) -> None:
    file = root / "stacks" / STACK / "alice.yaml"
    file.write_text(f"{file.read_text()}{fields}\n")
    checked = check_stack(STACK, root, {**CONFIG, **config}, encrypted=SECRETS)
    found = [str(problem) for problem in checked.problems]
    assert found
    assert all(what in each or "is not set" in each for each in found), found
    assert any(what in each for each in found)
    assert "s3cret" not in str(found)


def test_a_provider_knows_nobody_twice(root: Path) -> None:
    folder = root / "stacks" / STACK
    alice = (folder / "alice.yaml").read_text() + 'oidc: "1"\n'
    (folder / "alice.yaml").write_text(alice)
    text = request_text(researcher="bob", ssh_keys="", enrollment='"' + "ab" * 16 + '"')
    networks = "web_allowed_from: [198.51.100.0/24]\n"
    text = text.replace("127.0.0.0/8", "192.0.2.0/24")
    (folder / "bob.yaml").write_text(f'{text}access: [web]\n{networks}oidc: "1"\n')
    checked = check_stack(STACK, root, {**CONFIG, **PROVIDER}, encrypted=SECRETS)
    (found,) = map(str, checked.problems)
    assert "alice.yaml has the same oidc" in found


def test_the_providers_secret_is_to_be_one(root: Path) -> None:
    clear = [key for key in SECRETS if key != "secondlock:oidcClientSecret"]
    with pytest.raises(ProblemsError) as found:
        checked_plan(STACK, {**CONFIG, **PROVIDER}, encrypted=clear, root=root)
    assert "the provider's secret stands there in clear" in str(found.value)
    assert "s3cret" not in str(found.value)
