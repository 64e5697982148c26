"""A provider's word as a login: the machine's own helper and judge, and a provider on the loopback.

Through the hub and nginx: tests/unit/test_gateway.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib
import json
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.support.documents import document, envelope
from tests.support.gateway import (
    SERVICES,
    Person,
    codes,
    door,
    helper,
    lay_out,
    oidc,
    passphrases,
    places,
)
from tests.support.provider import ALICE, CLIENT, SECRET, Provider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

sys.path.append(str(SERVICES))
service: Any = importlib.import_module("secondlock_oidc")
asked: Any = importlib.import_module("guest.gateway.asked")
begun: Any = importlib.import_module("guest.oidc.begun")
identities: Any = importlib.import_module("guest.oidc.identities")
login: Any = importlib.import_module("guest.oidc.login")
parse: Any = importlib.import_module("guest.roster.document").parse
GuestError: Any = importlib.import_module("guest.system").GuestError

BACK = "https://lab.demo.localhost:8443/hub/oidc/callback"


@pytest.fixture(autouse=True)
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """One that vouches for alice; and a machine that believes it."""
    lay_out(tmp_path, monkeypatch)
    made = Provider(tmp_path, BACK)
    Person("alice").bind(ALICE)
    try:
        believe(made)
        yield made
    finally:
        made.end()


def believe(provider: Provider, **other: object) -> None:
    """Have the machine ask this provider, in place of who was asked before."""
    said = {
        "issuer": provider.issuer,
        "client": CLIENT,
        "claim": "sub",
        "acr": [],
        "authority": provider.authority,
        "redirect": BACK,
        **other,
    }
    listening = socket.socket(socket.AF_UNIX)
    (places.STATE.parent / "oidc.sock").unlink(missing_ok=True)
    listening.bind(str(oidc.SOCKET))
    listening.listen()
    speaker = service.Provider(said, SECRET)
    threading.Thread(target=service.serve, args=(speaker, listening), daemon=True).start()


def tell(provider: Provider, **other: str) -> None:
    """As the door's own files have it, beside those who ask it."""
    oidc.PROVIDER.write_text(json.dumps({"issuer": provider.issuer, "claim": "sub", **other}))


@dataclass
class Visit:
    """A browser that was sent to the provider, and is back."""

    state: str
    code: str
    binding: str
    issuer: str
    nonce: str

    def finish(self, **other: str) -> dict[str, Any]:
        said = {"state": self.state, "code": self.code, "binding": self.binding}
        return ask("finish", **{**said, "issuer": self.issuer, "address": "192.0.2.1", **other})


def ask(what: str, **more: object) -> dict[str, Any]:
    found: dict[str, Any] = helper.answer(json.dumps({"ask": what, "user": "", **more}).encode())
    return found


def visit(provider: Provider, binding: str | None = None) -> Visit:
    told = ask("begin", binding=binding, then="/user/alice")
    assert told["ok"], told
    sent = parse_qs(urlsplit(told["url"]).query)
    tls = ssl.create_default_context(cadata=provider.authority)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls), _Staying()
    )
    with pytest.raises(urllib.error.HTTPError) as led:
        opener.open(told["url"])
    back = urlsplit(led.value.headers["Location"])
    assert back._replace(query="").geturl() == BACK
    brought = {name: values[0] for name, values in parse_qs(back.query).items()}
    state, code, issuer = (brought[name] for name in ("state", "code", "iss"))
    return Visit(state, code, told["binding"], issuer, sent["nonce"][0])


class _Staying(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def test_whom_the_provider_vouches_for_is_in(provider: Provider) -> None:
    told = visit(provider).finish()
    assert (told["ok"], told["user"], told["then"]) == (True, "alice", "/user/alice")
    assert ask("holds", user="alice", ticket=told["ticket"])["ok"]


@pytest.mark.parametrize(
    ("says", "words"),
    [
        # Of one factor, or none; a text is no list, and another word no `mfa`.
        ({"amr": None}, "UNSURE"),
        ({"amr": ["pwd"]}, "UNSURE"),
        ({"amr": ["pwd", "MFA"]}, "UNSURE"),
        ({"amr": "mfa"}, "UNSURE"),
        ({"amr": None, "acr": "urn:mfa"}, "UNSURE"),
        # For somebody else, or by somebody else.
        ({"aud": "another"}, "REFUSED"),
        ({"aud": ["another", CLIENT]}, "REFUSED"),
        ({"aud": None}, "REFUSED"),
        ({"azp": "another"}, "REFUSED"),
        ({"iss": "https://evil.example"}, "REFUSED"),
        ({"iss": None}, "REFUSED"),
        # Of another time, or of none.
        ({"exp": 1}, "REFUSED"),
        ({"exp": None}, "REFUSED"),
        ({"exp": True}, "REFUSED"),
        ({"exp": "2100"}, "REFUSED"),
        ({"iat": 1}, "REFUSED"),
        ({"iat": 4_000_000_000}, "REFUSED"),
        ({"nbf": 4_000_000_000}, "REFUSED"),
        # Of another login.
        ({"nonce": "another"}, "REFUSED"),
        ({"nonce": None}, "REFUSED"),
        # Of nobody who is on the roster: least of all of who is called nearly so.
        ({"sub": ALICE[:-1]}, "UNKNOWN"),
        ({"sub": f"{ALICE}0"}, "UNKNOWN"),
        ({"sub": f"{ALICE} "}, "FAULT"),
        ({"sub": "alice"}, "UNKNOWN"),
        ({"sub": "*"}, "UNKNOWN"),
        ({"sub": "../alice"}, "UNKNOWN"),
        ({"sub": f"{ALICE}\n"}, "FAULT"),
        ({"sub": None}, "NAMELESS"),
        ({"sub": int(ALICE)}, "NAMELESS"),
        ({"sub": [ALICE]}, "NAMELESS"),
    ],
)
def test_what_does_not_fit_lets_nobody_in(
    provider: Provider, says: dict[str, object], words: str
) -> None:
    provider.says = says
    told = visit(provider).finish()
    wanted = getattr(login, words, None) or getattr(service, words)
    assert (told["ok"], told["words"]) == (False, wanted)
    assert "ticket" not in told
    assert provider.tokens == 1  # it was this that was refused


def unsigned(claims: dict[str, Any]) -> str:
    return ".".join(_part(part) for part in ({"alg": "none"}, claims)) + "."


def by_public_key(provider: Provider, claims: dict[str, Any]) -> str:
    """HS256 by what everybody knows: RS256's public key as the secret."""
    head = ".".join(_part(part) for part in ({"alg": "HS256", "kid": "1"}, claims))
    secret = provider.keys["1"].as_pem(private=False)
    return f"{head}.{_base64(hmac.new(secret, head.encode(), hashlib.sha256).digest())}"


def _part(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "how", ["none", "HS256", "own key", "key in the header", "another's", "cut", "changed", "text"]
)
def test_what_the_provider_has_not_signed_lets_nobody_in(
    provider: Provider, tmp_path: Path, how: str
) -> None:
    (tmp_path / "other").mkdir()
    own = RSAKey.generate_key(2048, {"kid": "1"}, auto_kid=False)
    other = Provider(tmp_path / "other", BACK, key=own)
    other.end()

    def sign(claims: dict[str, Any]) -> str:
        good = provider.signed(claims)
        head, body, signature = good.split(".")
        changed = _part({**claims, "sub": ALICE, "amr": ["mfa"]})
        return {
            "none": unsigned(claims),
            "HS256": by_public_key(provider, claims),
            "own key": other.signed(claims),
            "key in the header": other.signed(claims, jwk=other.keys["1"].as_dict(private=False)),
            "another's": other.signed({**claims, "iss": provider.issuer}),
            "cut": f"{head}.{body}.",
            "changed": f"{head}.{changed}.{signature}",
            "text": "not.a.token",
        }[how]

    if how == "changed":
        provider.says = {"sub": "mallory", "amr": ["pwd"]}
    provider.sign = sign
    assert visit(provider).finish()["words"] == service.REFUSED
    provider.sign, provider.says = provider.signed, {}
    assert visit(provider).finish()["ok"]


def test_a_login_is_good_once_and_in_the_browser_that_began_it(provider: Provider) -> None:
    again = {"ok": False, "words": login.AGAIN}
    mine, theirs = visit(provider), visit(provider)
    assert mine.binding != theirs.binding
    # Somebody is to go on with the login of another (RFC 6749, 10.12), or without having begun one.
    assert mine.finish(binding=theirs.binding) == again
    assert mine.finish() == again  # it is over with that
    assert theirs.finish(state="x" * 43) == again
    assert theirs.finish(binding="") == again
    good = visit(provider)
    assert good.finish()["ok"]
    assert good.finish() == again
    assert provider.tokens == 1


def test_a_code_of_another_login_is_worth_nothing(provider: Provider) -> None:
    """Who caught it lacks the verifier; who used it has used it up."""
    caught, own = visit(provider), visit(provider)
    assert own.finish(code=caught.code)["words"] == service.REFUSED
    assert provider.tokens == 0
    used = visit(provider)
    assert used.finish()["ok"]
    assert visit(provider).finish(code=used.code)["words"] == service.REFUSED
    assert visit(provider).finish(code="")["words"] == login.AGAIN


def test_a_token_of_another_login_is_worth_nothing(provider: Provider) -> None:
    kept: list[str] = []

    def keep(claims: dict[str, Any]) -> str:
        kept.append(provider.signed(claims))
        return kept[0]

    provider.sign = keep
    assert visit(provider).finish()["ok"]
    assert visit(provider).finish()["words"] == service.REFUSED


def test_several_may_be_on_the_way_in_one_browser(provider: Provider) -> None:
    first = visit(provider)
    second = visit(provider, first.binding)
    assert first.binding == second.binding
    assert second.finish()["ok"]
    assert first.finish()["ok"]


def test_a_login_that_takes_long_is_over(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, now = visit(provider), time.monotonic()
    later = SimpleNamespace(monotonic=lambda: now + 60 * begun.MINUTES + 1)
    monkeypatch.setattr(begun, "time", later)  # not its `monotonic`: that is everybody's
    assert one.finish()["words"] == login.AGAIN


def test_who_begins_very_often_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begun, "MOST", 10)
    states = [begun.begin(None, "x" * 10_000)[0] for _ in range(25)]
    assert len(begun._begun) == 10
    one = begun._begun[states[-1]]
    assert len(one.then) == begun.LONGEST


@pytest.mark.parametrize("how", ["frozen", "revoked", "closed", "rotated", "by passphrase"])
def test_who_may_not_come_in_does_not_whatever_the_provider_says(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    one = visit(provider)
    ticket = visit(provider).finish()["ticket"]
    if how == "frozen":
        with codes.locked("alice"):
            slate = codes.slate("alice", codes.issued("alice"))
            codes.keep("alice", slate | {"frozen": True})
    elif how == "revoked":
        codes.forget("alice")
        door.forget("alice")
    elif how == "closed":
        monkeypatch.setattr(login.sign, "words", lambda: "This machine is closed.")
    elif how == "rotated":  # and cut off before the provider's name was bound anew
        codes.enroll("alice", Person("alice").issued)
    else:
        Person("alice").bind()
    assert not one.finish()["ok"]
    assert not ask("holds", user="alice", ticket=ticket)["ok"]
    if how == "closed":
        assert ask("begin", binding=None, then="") == {
            "ok": False,
            "words": "This machine is closed.",
        }


def test_rotated_people_are_out_and_come_in_again(provider: Provider) -> None:
    ticket = visit(provider).finish()["ticket"]
    Person("alice").bind(ALICE)
    assert not ask("holds", user="alice", ticket=ticket)["ok"]
    assert visit(provider).finish()["ok"]


def test_who_comes_by_the_provider_has_no_passphrase(provider: Provider) -> None:
    alice = Person("alice")
    alice.bind(ALICE)
    said = {"passphrase": alice.passphrase, "code": alice.code(), "address": "192.0.2.1"}
    assert not ask("log in", **{**said, "user": "alice"})["ok"]
    assert not ask("log in", **{**said, "user": "alice", "passphrase": ""})["ok"]


def test_two_of_one_name_are_nobody(provider: Provider) -> None:
    Person("bob").bind(ALICE)
    assert visit(provider).finish()["words"] == login.UNKNOWN


def test_acr_alone_counts_where_the_stack_names_its_values(provider: Provider) -> None:
    believe(provider, acr=["urn:mfa", "phr"])
    for acr, good in (("urn:mfa", True), ("phr", True), ("urn:mfa2", False), (None, False)):
        provider.says = {"acr": acr}  # with `mfa` in amr
        assert visit(provider).finish()["ok"] is good
    provider.says = {"acr": ["phr"], "amr": None}
    assert not visit(provider).finish()["ok"]


def test_the_claim_is_the_settings(provider: Provider) -> None:
    believe(provider, claim="email")
    Person("alice").bind("alice@example.org")
    for verified, good in ((True, True), (False, False), (None, False), ("true", False)):
        provider.says = {"email": "alice@example.org", "email_verified": verified}
        assert visit(provider).finish()["ok"] is good
    provider.says = {"email": "ALICE@example.org", "email_verified": True}
    assert visit(provider).finish()["words"] == login.UNKNOWN


def test_a_provider_that_says_who_answers_has_to_say_so(provider: Provider) -> None:
    for issuer in ("https://evil.example", "", f"{provider.issuer}/"):
        assert visit(provider).finish(issuer=issuer)["words"] == service.REFUSED
    assert provider.tokens == 0
    provider.about = {"authorization_response_iss_parameter_supported": None}
    believe(provider)
    assert visit(provider).finish(issuer="")["ok"]


@pytest.mark.parametrize(
    "about",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": "http://localhost/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"issuer": None},
    ],
)
def test_a_provider_that_says_strange_things_of_itself_is_not_asked(
    provider: Provider, about: dict[str, object]
) -> None:
    provider.about = about
    believe(provider)
    assert ask("begin", binding=None, then="") == {"ok": False, "words": service.AWAY}


def test_without_a_provider_nobody_is_led_anywhere() -> None:
    (places.STATE.parent / "oidc.sock").unlink()
    assert ask("begin", binding=None, then="") == {"ok": False, "words": login.FAULT}


def test_a_slow_provider_keeps_nobody_from_asking(provider: Provider) -> None:
    ticket, one = visit(provider).finish()["ticket"], visit(provider)
    with ExitStack() as slow:
        for _ in range(helper.VOUCHED_AT_ONCE):
            slow.enter_context(helper._room(helper._vouched))
        assert ask("begin", binding=None, then="")["fault"]
        assert one.finish()["fault"]
        assert ask("holds", user="alice", ticket=ticket)["ok"]
    assert one.finish()["ok"]  # it was not used up


def test_from_another_network_nobody_comes_in_whatever_the_provider_says(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(login.syslog, "syslog", lambda _, line: said.append(line))
    for address in ("198.51.100.7", "2001:DB8::1", "none", "", "192.0.2.1\nAccepted x"):
        told = visit(provider).finish(address=address)
        assert (told["ok"], told["words"]) == (False, login.ELSEWHERE)
        assert "ticket" not in told
    shown = ("198.51.100.7", "2001:db8::1", "-", "-", "-")
    assert said == [f"Refused alice from {each}: none of their networks" for each in shown]
    assert visit(provider).finish()["ok"]


@pytest.mark.parametrize("how", ["another name", "no name", "networks", "provider", "claim"])
def test_a_ticket_is_over_with_what_the_provider_vouched_for(provider: Provider, how: str) -> None:
    alice = Person("alice")
    alice.bind(ALICE)
    tell(provider)
    ticket = visit(provider).finish()["ticket"]
    alice.bind(ALICE)
    tell(provider)
    assert ask("holds", user="alice", ticket=ticket)["ok"]
    if how == "another name":
        alice.bind(f"{ALICE}0")
    elif how == "no name":
        alice.bind()
    elif how == "networks":
        alice.networks = ("198.51.100.0/24",)
        alice.bind(ALICE)
    else:
        tell(
            provider, **({"claim": "email"} if how == "claim" else {"issuer": "https://x.example"})
        )
    assert not ask("holds", user="alice", ticket=ticket)["ok"]


def test_a_ticket_is_over_with_the_name_itself(provider: Provider) -> None:
    """Not only since who binds another one puts the person out: cut off before that, too."""
    alice = Person("alice")
    alice.bind(ALICE)
    ticket = visit(provider).finish()["ticket"]
    identities.bind("alice", alice.enrollment, f"{ALICE}0")
    assert not ask("holds", user="alice", ticket=ticket)["ok"]
    identities.bind("alice", alice.enrollment, ALICE)
    assert ask("holds", user="alice", ticket=ticket)["ok"]


def test_who_is_bound_to_another_name_in_the_midst_of_a_login_is_not_in(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, person = Person("alice"), identities.person
    alice.bind(ALICE)

    def slowly(identity: str) -> str | None:
        found: str | None = person(identity)
        alice.bind(f"{ALICE}0")
        return found

    monkeypatch.setattr(identities, "person", slowly)
    assert visit(provider).finish()["words"] == login.UNKNOWN


def test_a_code_opens_nothing_of_who_comes_by_the_provider_now(provider: Provider) -> None:
    """Nor the other way round, where a crash left both."""
    alice = Person("alice")
    alice.bind()
    said = {"passphrase": alice.passphrase, "code": alice.code(), "address": "192.0.2.1"}
    ticket = ask("log in", user="alice", **said)["ticket"]
    identities.bind("alice", alice.enrollment, ALICE)
    assert ask("holds", user="alice", ticket=ticket)["ok"]
    passphrases.forget("alice")
    assert not ask("holds", user="alice", ticket=ticket)["ok"]


def test_twenty_at_the_same_moment_all_come_in(provider: Provider) -> None:
    """As a class does; the hub has them wait for their turn, as many as the helper takes."""
    people = {f"user{n}": f"id-{n}" for n in range(20)}
    for name, identity in people.items():
        Person(name).bind(identity)
    visits, turns = {}, threading.BoundedSemaphore(helper.VOUCHED_AT_ONCE)
    for name, identity in people.items():
        provider.says = {"sub": identity}
        visits[name] = visit(provider)
    sub = {one.nonce: people[name] for name, one in visits.items()}
    provider.says = {}
    provider.sign = lambda claims: provider.signed({**claims, "sub": sub[claims["nonce"]]})
    found: dict[str, dict[str, Any]] = {}

    def one(name: str) -> None:
        with turns:
            found[name] = visits[name].finish()

    threads = [threading.Thread(target=one, args=(name,)) for name in people]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {name: told["user"] for name, told in found.items()} == {name: name for name in people}
    assert all(ask("holds", user=name, ticket=found[name]["ticket"])["ok"] for name in people)


def test_logins_of_one_person_at_the_same_moment_all_have_their_tickets(
    provider: Provider,
) -> None:
    visits = [visit(provider) for _ in range(helper.VOUCHED_AT_ONCE)]
    found: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(one.finish())) for one in visits
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [ask("holds", user="alice", ticket=one["ticket"])["ok"] for one in found] == [True] * 4


def test_a_secret_goes_nowhere_without_tls(provider: Provider) -> None:
    provider.about = {"token_endpoint": provider.issuer.replace("https", "http") + "/token"}
    believe(provider)
    assert visit(provider).finish()["words"] == service.AWAY
    assert provider.tokens == 0


def test_another_certificate_than_its_own_is_not_believed(
    provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Provider(tmp_path / "other", BACK)
    other.end()
    for authority in (other.authority, None):  # another's, and those that this computer trusts
        believe(provider, authority=authority)
        assert ask("begin", binding=None, then="")["ok"] is False


def test_the_providers_keys_may_change(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    assert visit(provider).finish()["ok"]
    provider.add_key("2")
    provider.add_key("3", curve="P-256")
    monkeypatch.setattr(service, "OFTEN", 0.0)
    provider.odd = [  # of kinds that nobody here knows, or none at all
        {"kty": "EC", "crv": "BP-256", "x": "AA", "y": "AA", "kid": "4"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "5"},
        {"kty": "RSA", "n": _base64(b"\xff" * 256), "e": "AQAB", "alg": 3},
        "RSA",
    ]
    for kid, algorithm in (("2", "RS256"), ("2", "PS256"), ("3", "ES256")):
        provider.sign = partial(provider.signed, kid=kid, algorithm=algorithm)
        assert visit(provider).finish()["ok"], algorithm
    monkeypatch.setattr(service, "FRESH", 0.0)  # until then what was withdrawn is believed
    withdrawn = provider.keys.pop("2")
    provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "2"}, claims, withdrawn)
    assert visit(provider).finish()["words"] == service.REFUSED


def test_weak_keys_and_those_of_others_are_no_keys() -> None:
    good = {"kty": "RSA", "n": _base64(b"\xff" * 256), "e": "AQAB"}
    assert service._is_key(good)
    for other in (
        {"kty": "oct", "k": "c2VjcmV0"},
        {**good, "n": _base64(b"\xff" * 128)},
        {**good, "use": "enc"},
        {"kty": "RSA"},
        "RSA",
    ):
        assert not service._is_key(other)


def test_what_is_begun_leads_to_the_provider_with_nothing_secret(provider: Provider) -> None:
    told = ask("begin", binding="short", then="/x")
    parts = urlsplit(told["url"])
    sent = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert parts.netloc == urlsplit(provider.issuer).netloc
    assert (sent["client_id"], sent["redirect_uri"], sent["scope"]) == (CLIENT, BACK, "openid")
    assert sent["code_challenge_method"] == "S256"
    assert SECRET not in told["url"]
    assert told["binding"] not in told["url"]
    one = begun._begun[sent["state"]]
    assert one.verifier not in json.dumps(told)
    assert one.nonce not in repr(one)


def _roster(identity: object = ALICE, **said: object) -> dict[str, Any]:
    own = {"issuer": "https://id.example.org", "client": "c", "secret": "s", "claim": "sub"}
    certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    web = {
        "host": "lab.demo.localhost",
        "certificate": certificate,
        "key": certificate.replace("CERTIFICATE", "PRIVATE KEY"),
        "allowed_from": ["127.0.0.0/8"],
        "ends": 1_900_000_000,
        "provider": {**own, "acr": [], **said},
    }
    people = document()["researchers"]
    people["alice"] |= {"access": ["ssh", "web"], "web_from": ["192.0.2.0/24"]}
    people["alice"] |= {"web_identity": identity}
    return envelope(researchers=people, web=web)


def test_a_roster_says_whom_the_provider_vouches_for() -> None:
    found = parse(json.dumps(_roster()))
    access = found.researchers["alice"].access
    assert (access.identity, access.networks, access.web) == (ALICE, ("192.0.2.0/24",), True)
    assert (found.door.provider.issuer, found.door.form) == ("https://id.example.org", False)
    assert found.door.ends == 1_900_000_000
    assert "'s'" not in repr(found)


@pytest.mark.parametrize(
    "roster",
    [
        _roster(identity=""),
        _roster(identity="a\nb"),
        _roster(identity=7),
        _roster(issuer="http://id.example.org"),
        _roster(issuer="https://id.example.org:99999"),
        _roster(issuer="https://id.example.org/?x"),
        _roster(issuer="https://u@id.example.org"),
        _roster(claim=""),
        _roster(acr="mfa"),
        _roster(authority="none"),
        _roster(secret=None),
    ],
)
def test_a_roster_whose_provider_is_none_is_refused(roster: dict[str, Any]) -> None:
    with pytest.raises(GuestError):
        parse(json.dumps(roster))


@pytest.mark.parametrize(
    ("name", "of_person"),
    [
        ("bob", {"access": ["web"], "web_from": ["192.0.2.0/24"], "web_identity": ALICE}),
        ("bob", {"web_identity": "7"}),
        ("alice", {"web_passphrase": "a" * 20}),
        ("alice", {"access": ["ssh"]}),
        ("alice", {"access": ["ssh"], "web_from": None}),
        ("alice", {"access": ["ssh"], "web_identity": None}),
        ("alice", {"web_from": None}),
        ("alice", {"web_from": []}),
        ("alice", {"web_identity": None, "web_passphrase": "a" * 20}),
        ("alice", {"web_identity": None}),
    ],
)
def test_a_roster_that_contradicts_itself_is_refused(
    name: str, of_person: dict[str, object]
) -> None:
    roster = _roster()
    roster["roster"]["researchers"][name] |= of_person
    with pytest.raises(GuestError):
        parse(json.dumps(roster))


def test_who_comes_by_a_provider_needs_one() -> None:
    roster = _roster()
    del roster["roster"]["web"]["provider"]
    with pytest.raises(GuestError):
        parse(json.dumps(roster))
