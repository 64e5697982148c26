"""What the HTTPS door speaks, asked of a real nginx with the machine's own configuration.

As testssl.sh and Mozilla's observatory ask it: protocols, ciphers, key exchange, certificate,
renegotiation, compression, resumption, headers. Nothing is behind it, but nginx answers.
"""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import ssl
import subprocess
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from infra import web
from tests.support.client import free_port
from tests.support.documents import SEED
from tests.support.gateway import asked, door, lay_out, nginx, places, write_nginx

if TYPE_CHECKING:
    from collections.abc import Iterator

if nginx() is None:
    pytest.skip("nginx is not installed", allow_module_level=True)

GOOD_CIPHERS = {
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
}
GOOD_GROUPS = ("X25519", "P-256", "P-384")
"""Of them at least one; none below 128 bits of security (RFC 7919, 8447)."""

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@dataclass
class Door:
    """Where it listens."""

    host: str
    port: int
    authority: str

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority)

    def connect(self, context: ssl.SSLContext, name: str | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), 20)
        return context.wrap_socket(plain, server_hostname=name or self.host)

    def speaks(self, context: ssl.SSLContext) -> bool:
        try:
            with self.connect(context):
                return True
        except (ssl.SSLError, ConnectionError):
            return False

    def ask(self, path: str, host: str, more: str = "") -> tuple[int, dict[str, str]]:
        """The answer's status and headers, whatever is behind it."""
        with self.connect(self.context(), host) as connection:
            head = f"GET {path} HTTP/1.1\r\nHost: {host}:{self.port}\r\nConnection: close\r\n"
            connection.sendall(f"{head}{more}\r\n".encode())
            with connection.makefile("rb") as lines:
                status = int(lines.readline().split()[1])
                found = (line.decode().partition(":") for line in iter(lines.readline, b"\r\n"))
                return status, {name.lower(): value.strip() for name, _, value in found}

    def s_client(self, *options: str, typed: bytes = b"") -> str:
        """What `openssl s_client` says of it."""
        place = f"127.0.0.1:{self.port}"
        argv = ["openssl", "s_client", "-connect", place, "-servername", self.host, *options]
        done = subprocess.run(argv, input=typed, capture_output=True, timeout=60, check=False)
        return (done.stdout + done.stderr).decode(errors="replace")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    place = tmp_path_factory.mktemp("tls")
    with pytest.MonkeyPatch.context() as patch:
        lay_out(place, patch)
        port = free_port()
        patch.setattr(door, "PORT", {"local": port, "aws": 443})
        made = web.certificate(SEED, stack="test", machine="lab", today=dt.date(2026, 11, 27))
        door._write(
            asked.Door(made.host, made.certificate, made.key, ("127.0.0.0/8",)), "local", port
        )
        write_nginx(place)
        argv = [str(nginx()), "-c", str(place / "nginx.conf"), "-e", "stderr"]
        with (place / "log").open("wb") as log:
            running = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            one = Door(made.host, port, web.authority(SEED, "test"))
            deadline = time.monotonic() + 30
            while not one_listens(port):
                assert time.monotonic() < deadline, (place / "log").read_text()
                time.sleep(0.1)
            yield one
        finally:
            running.terminate()
            running.wait(20)


def one_listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_tls_from_1_2_on(machine: Door, version: ssl.TLSVersion, spoken: bool) -> None:
    context = machine.context()
    context.set_ciphers(
        "ALL:@SECLEVEL=0"
    )  # else this computer refuses what is old, not the machine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
        context.minimum_version = version
    assert machine.speaks(context) is spoken


def test_of_ciphers_only_those_that_encrypt_and_authenticate_at_once(machine: Door) -> None:
    every = machine.context()
    every.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    known = [each["name"] for each in every.get_ciphers() if each["protocol"] != "TLSv1.3"]
    assert len(known) > 30
    spoken = set()
    for name in known:
        one = machine.context()
        one.maximum_version = ssl.TLSVersion.TLSv1_2
        one.set_ciphers(f"{name}:@SECLEVEL=0")
        if machine.speaks(one):
            spoken.add(name)
    assert spoken == GOOD_CIPHERS


def test_the_certificate_is_for_these_names_and_signed_as_today(machine: Door) -> None:
    with machine.connect(machine.context(), f"alice.{machine.host}") as connection:
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    found = x509.load_der_x509_certificate(shown)
    assert isinstance(found.signature_hash_algorithm, hashes.SHA256)
    key = found.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.key_size >= 256
    assert (found.not_valid_after_utc - found.not_valid_before_utc).days <= 825
    for other in ("evil.example", f"a.b.{machine.host}"):
        with pytest.raises(ssl.SSLCertVerificationError):
            machine.connect(machine.context(), other)


def test_nothing_is_compressed_and_no_ticket_given(machine: Door) -> None:
    """CRIME; and by a ticket's key, which nginx keeps for as long as it runs, old talk is read."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = machine.context()
        context.maximum_version = version
        with machine.connect(context) as connection:
            assert connection.compression() is None
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {machine.host}\r\n\r\n".encode())
            connection.recv(10)  # TLS 1.3 gives tickets behind the handshake
            session = connection.session
        # Of 1.3's a ticket is no more than a number of what nginx remembers for a day.
        assert session is None or not session.has_ticket or version is ssl.TLSVersion.TLSv1_3


@openssl
def test_what_openssl_says_of_it(machine: Door) -> None:
    said = machine.s_client("-tls1_2")
    assert "Secure Renegotiation IS supported" in said  # RFC 5746
    assert "Compression: NONE" in said
    assert "TLS session ticket" not in said
    # The early data of TLS 1.3 could be sent twice (RFC 8446, 8).
    later = machine.s_client("-tls1_3", typed=f"GET / HTTP/1.1\nHost: {machine.host}\n\n".encode())
    assert "Max Early Data: 0" in later or "Max Early Data" not in later
    for group in GOOD_GROUPS:
        assert "Server Temp Key" in machine.s_client("-curves", group), group
    # Whoever asks to negotiate anew within TLS 1.2 (CVE-2011-1473) is not heard.
    anew = machine.s_client("-tls1_2", typed=b"R\n")
    assert "RENEGOTIATING" in anew
    assert "no renegotiation" in anew or "error" in anew.lower()


@openssl
@pytest.mark.parametrize(
    "weak",
    [
        ("-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"),  # no forward secrecy
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),  # CBC
        ("-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"),  # a group of one's own
        ("-tls1_2", "-curves", "secp224r1"),
        ("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256"),
    ],
)
def test_openssl_is_refused_what_is_weak(machine: Door, weak: tuple[str, ...]) -> None:
    said = machine.s_client(*weak)
    assert "New, (NONE), Cipher is (NONE)" in said or "no ciphers available" in said, said


def test_every_answer_has_the_headers(machine: Door) -> None:
    """Of nginx's own too: of a page that is not there, a hub that is away, a stranger's name."""
    person = f"alice.{machine.host}"
    for path, host, wanted in (
        ("/", machine.host, 302),
        ("/hub/login", machine.host, 503),
        ("/hub/oidc/login", machine.host, 503),
        ("/hub/api/users", machine.host, 404),
        ("/hub/token", machine.host, 404),
        ("/lab", person, 302),
    ):
        status, headers = machine.ask(path, host)
        assert status == wanted, path
        hsts = headers["strict-transport-security"]
        assert int(hsts.partition("max-age=")[2].partition(";")[0]) >= 180 * 86400
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["server"] == "nginx"  # and not which
        assert "content-encoding" not in headers  # BREACH
    packed = machine.ask("/hub/api/users", machine.host, "Accept-Encoding: gzip, br\r\n")[1]
    assert "content-encoding" not in packed


def test_a_name_that_is_none_of_ours_is_led_nowhere(machine: Door) -> None:
    with machine.connect(machine.context()) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert b" 421 " in connection.recv(100)


def test_plain_http_is_told_nothing(machine: Door) -> None:
    with socket.create_connection(("127.0.0.1", machine.port), 20) as plain:
        plain.sendall(f"GET /hub/login HTTP/1.1\r\nHost: {machine.host}\r\n\r\n".encode())
        answer = plain.recv(4096)
    assert b" 400 " in answer
    assert b"Set-Cookie" not in answer
    assert places.HUB_CONFIG.exists()


def test_a_flood_of_logins_by_the_provider_ends_at_nginx(machine: Door) -> None:
    """Who begins very often is told to wait; who comes back from the provider then is not."""
    begun = [machine.ask("/hub/oidc/login", machine.host)[0] for _ in range(120)]
    assert begun[:50] == [503] * 50  # as far as the hub, which is away here
    assert begun.count(429) > 20
    for path in ("/hub/oidc/callback?state=x&code=y", "/hub/login"):
        assert machine.ask(path, machine.host)[0] == 503
