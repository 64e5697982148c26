"""Requests: good ones are read, and every mistake in every file is told with its place."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from infra.aws import checks as aws
from infra.checks import check_stack
from infra.local import checks as local
from infra.model.folder import load_folder, read_folder
from infra.model.machine import MachineSize
from infra.model.names import check_researcher_name
from infra.model.networks import is_world_open
from infra.model.person import machine_name
from infra.model.problems import ProblemsError, RefusedError
from infra.model.retired import load_retired
from infra.model.schema import FOLDER, texts
from infra.model.ssh_keys import check_ssh_key
from tests.support.plans import aws_settings
from tests.support.request_files import (
    ECDSA,
    IDS,
    IMAGE,
    KEY,
    OF_ORDER_8,
    OTHER_KEY,
    PRIVATE_KEY,
    P,
    ed25519_of,
    request_text,
    respelt,
    rsa_key,
    security_key,
)

ROOT = Path(__file__).parents[2]


def problems(folder: Path) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        load_folder(folder)
    return [str(one).replace(f"{folder}/", "") for one in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stack = tmp_path / "stacks" / "demo"
    stack.mkdir(parents=True)
    return stack


def test_a_whole_request(folder: Path) -> None:
    (folder / "alice.yaml").write_text(
        request_text(
            ssh_keys=f'["{KEY} alice@büro", {security_key()}, {ECDSA}, {rsa_key(3072)}]',
            allowed_from="[203.0.113.0/24, '2001:DB8::/32']",
            factors="password+totp",
            machine="{cpus: 8, home_disk_gib: 100}",
            rebuild="3",
            tensorflow_image=IMAGE,
            end_sessions="true",
        )
    )
    (folder / "bob.yaml").write_text(
        request_text(researcher="bob", ssh_keys=f"[{OTHER_KEY}]", enrollment=f'"{IDS[1]}"')
    )
    alice, bob = load_folder(folder).people
    assert alice.ssh_keys == (f"{KEY} alice@büro", security_key(), ECDSA, rsa_key(3072))
    assert alice.allowed_from == ("203.0.113.0/24", "2001:db8::/32")
    assert alice.machine == MachineSize(cpus=8, home_disk_gib=100)
    assert (alice.rebuild, alice.tensorflow_image, alice.end_sessions) == (3, IMAGE, True)
    assert machine_name(bob) == "bob"
    assert (bob.factors, bob.machine, bob.tensorflow_image) == ("key+totp", MachineSize(), None)


def test_password_mode_needs_no_key(folder: Path) -> None:
    (folder / "alice.yaml").write_text(request_text(factors="password+totp", ssh_keys=""))
    assert load_folder(folder).people[0].ssh_keys == ()


@pytest.mark.parametrize("method", ["fido2", "fido2+totp"])
def test_security_keys_may_be_all_that_a_login_takes(folder: Path, method: str) -> None:
    text = request_text(factors=method, ssh_keys=f"[{security_key()}]")
    (folder / "alice.yaml").write_text(text)
    assert load_folder(folder).people[0].ssh_keys == (security_key(),)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reseacher": "x"}, "5: unknown field `reseacher` (did you mean `researcher`?)"),
        ({"machine": "{gpu: 1}"}, "5: unknown field `machine.gpu` (there are: cpus, "),
        ({"machine": "{cpus: 0}"}, "5: machine.cpus: at least 1"),
        ({"machine": '{cpus: "2"}'}, "5: machine.cpus: expected a whole number"),
        ({"allowed_from": ""}, "1: `allowed_from` is missing (add "),
        ({"researcher": "no"}, "1: researcher: YAML reads `no` as a number or as true/false"),
        ({"researcher": "123"}, '(put it in quotes: "123")'),
        ({"researcher": "bob"}, "1: researcher: `bob` in a file called alice.yaml"),
        ({"factors": "totp"}, "5: factors: expected 'key+totp' or 'password+totp'"),
        ({"ssh_keys": ""}, "1: ssh_keys: no SSH key: nobody could log in"),
        ({"ssh_keys": KEY}, "2: ssh_keys: expected a list"),
        ({"factors": "fido2", "ssh_keys": ""}, "1: ssh_keys: no SSH key: nobody could log in"),
        (
            {"factors": "fido2", "ssh_keys": f"[{security_key()}, {KEY}]"},
            "2: ssh_keys: an SSH key that is on no security key (make one that is: ssh-keygen",
        ),
        (
            {"factors": "fido2+totp", "ssh_keys": f"[{security_key(b'https://example.org')}]"},
            "2: ssh_keys[0]: a security key that was made for something else than SSH",
        ),
        ({"ssh_keys": f"\n- {KEY}\n- {KEY} twice"}, "4: ssh_keys[1]: stands in this list already"),
        ({"ssh_keys": f"[{rsa_key(2048)}]"}, "2: ssh_keys[0]: an RSA key of 2048 bits"),
        ({"allowed_from": "[]"}, "3: allowed_from: no network"),
        ({"allowed_from": "[10.0.0.1/8]"}, "3: allowed_from[0]: `10.0.0.1/8` has host bits set"),
        ({"allowed_from": "[10.0.0.1]"}, "(for that one address: 10.0.0.1/32)"),
        ({"allowed_from": "[10.0.0.0/255.0.0.0]"}, "is not in CIDR form (write 10.0.0.0/8)"),
        ({"allowed_from": "['::ffff:1.2.3.4/128']"}, "is IPv4 written as IPv6"),
        ({"allowed_from": "[localhost]"}, "'localhost' is not an address range"),
        ({"allowed_from": "[10.0.0.0/8, 10.0.0.0/8]"}, "allowed_from[1]: stands in this list"),
        ({"allowed_from": "[0.0.0.0/0]"}, "3: allowed_from: open to the world"),
        ({"enrollment": IDS[0].upper()}, "4: enrollment: not 32 lower-case hex digits"),
        ({"enrollment": "'" + "a" * 32 + "'"}, "one digit 32 times"),
        ({"enrollment": "1" * 31 + "2"}, "(put it in quotes: "),
        ({"rebuild": "-1"}, "5: rebuild: at least 0"),
        ({"rebuild": "true"}, "5: rebuild: expected a whole number"),
        ({"tensorflow_image": "tensorflow/tensorflow:2.9.3"}, "an image named without its digest"),
        ({"tensorflow_image": IMAGE.replace("@", ":1@")}, "an image with a tag and a digest"),
        ({"tensorflow_image": IMAGE.upper()}, "without its digest"),
        ({"machine": "{instance_type: p5.48xlarge}"}, "5: machine.instance_type: `p5.48xlarge`"),
        ({"machine": "{zone: moon-1a}"}, "5: machine.zone: not an availability zone"),
        ({"machine": "{spot: perhaps}"}, "5: machine.spot: expected true or false"),
        ({"cost_centre": "a;b"}, "5: cost_centre: not a tag's value"),
        ({"until": "tomorrow"}, "5: until: expected a day, such as 2026-11-22"),
        *(
            ({"closed_from": when}, "5: closed_from: expected a time with its zone, such as")
            for when in (
                "2026-12-18",
                "2026-12-18T12:00",
                "noon",
                "1766000000",
                "2026-12-18T25:00Z",
            )
        ),
        ({"rebuild": "1\nrebuild: 2"}, "6: `rebuild` stands here twice, first in line 5"),
    ],
)
def test_one_mistake(folder: Path, fields: dict[str, str], expected: str) -> None:
    (folder / "alice.yaml").write_text(request_text(**fields))
    (found,) = problems(folder)
    assert found.startswith("alice.yaml:")
    assert expected in found.removeprefix("alice.yaml:")


def test_a_system_user_is_refused_with_its_place(folder: Path) -> None:
    (folder / "sshd.yaml").write_text(request_text(researcher="sshd"))
    (found,) = problems(folder)
    assert found.startswith("sshd.yaml:1: researcher: `sshd` is the name of a system user")


def test_every_mistake_of_every_file_at_once(folder: Path) -> None:
    (folder / "alice.yaml").write_text(
        request_text(
            ssh_keys=f"\n- {rsa_key(1024)}\n- {KEY}\n- ssh-dss AAAA",
            allowed_from="[1.2.3.4/8, 0.0.0.0/1]",
            open_to_world="perhaps",
        )
    )
    (folder / "bob.yaml").write_text(request_text(researcher="bob", rebuild="-1"))
    (folder / "carol.yml").write_text("")
    (folder / "dave.yaml").write_text("a: [")
    (folder / "retired.yaml").write_text("retired: [{enrollment: x}]")
    places = [one.split(": ", 1)[0] for one in problems(folder)]
    assert places == [
        *(f"alice.yaml:{line}" for line in (3, 5, 6, 6, 8)),
        *(f"bob.yaml:{line}" for line in (2, 4, 5)),  # alice's key, alice's enrollment
        "carol.yml",
        "dave.yaml:1",
        *["retired.yaml:1"] * 4,
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ":1: no `field: value` lines"),
        (b"- alice", ":1: no `field: value` lines"),
        (b"a: b\n c: : d", ":2: not valid YAML"),
        (b"a: b\n---\nb: c", ":2: not valid YAML"),
        (b"a: \x07", ":1: not valid YAML: a control character"),
        (b"a: b\nb: \xff", ":2: not UTF-8 text"),
        (b"a: &x [1]\nb: [*x, *x]", ":1: YAML's anchors, aliases and tags"),
        (b'a: !!python/object/apply:os.system ["id"]', ":1: YAML's anchors, aliases and tags"),
        (b"a:\n " + b"- " * 2000, ":2: not valid YAML: nested too deeply"),
        (b"a" * 70_000, ": larger than 64 KiB"),
    ],
)
def test_files_that_are_no_requests(folder: Path, content: bytes, expected: str) -> None:
    (folder / "alice.yaml").write_bytes(content)
    (found,) = problems(folder)
    assert found.startswith(f"alice.yaml{expected}")


def test_things_that_are_no_files(folder: Path) -> None:
    (folder / "dir.yaml").mkdir()
    (folder / "link.yaml").symlink_to("nowhere")
    (folder / ".alice.yaml.swp").write_text("ignored")
    (folder / "README.md").write_text("ignored")
    assert [one.split(" (")[0] for one in problems(folder)] == [
        "dir.yaml: not a regular file",
        "link.yaml: a link to nothing",
    ]


def test_missing_and_empty_folders_name_the_command(folder: Path) -> None:
    for place in (folder, folder / "nowhere" / "demo"):
        (found,) = problems(place)
        assert "./secondlock request RESEARCHER --stack demo" in found


def test_retired_enrollments_never_come_back(folder: Path) -> None:
    (folder / "alice.yaml").write_text(request_text())
    (folder / "retired.yaml").write_text(
        "retired:\n"
        f'  - {{enrollment: "{IDS[0]}", researcher: alice, reason: rotated, date: 2026-11-22}}\n'
    )
    (found,) = problems(folder)
    assert found == (
        "alice.yaml:4: enrollment: retired on 2026-11-22 (alice, rotated) "
        "(./secondlock rotate alice --stack demo)"
    )
    (folder / "alice.yaml").unlink()  # the last one may go
    assert load_folder(folder).people == ()
    assert [one.enrollment for one in load_retired(folder)] == [IDS[0]]


def test_a_retired_list_that_cannot_be_read_stops_everything(folder: Path) -> None:
    (folder / "alice.yaml").write_text(request_text())
    for content in ("", "retired:", "retired: [", "retird: []"):
        (folder / "retired.yaml").write_text(content)
        assert problems(folder)[0].startswith("retired.yaml:")
    (folder / "retired.yaml").unlink()
    (folder / "retired.yaml").symlink_to("nowhere")
    assert problems(folder)[0].startswith("retired.yaml:")


@pytest.mark.parametrize(
    "text",
    [
        "ssh_keys:\n  - |\n    " + PRIVATE_KEY.replace("\n", "\n    "),
        request_text() + PRIVATE_KEY,
        request_text(ssh_keys=f"[{PRIVATE_KEY.splitlines()[1]}]"),
        "PuTTY-User-Key-File-3: ssh-ed25519",
    ],
)
def test_a_private_key_is_called_one_and_never_shown(folder: Path, text: str) -> None:
    (folder / "alice.yaml").write_text(text)
    (found,) = problems(folder)
    assert "THIS IS A PRIVATE KEY" in found
    assert not any(line in found for line in PRIVATE_KEY.splitlines()[1:-1])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "not an OpenSSH public key"),
        ("~/.ssh/id_ed25519.pub", "not an OpenSSH public key"),
        (KEY.split()[1], "not an OpenSSH public key"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "DSA"),
        (f'command="rm -rf /" {KEY}', "options"),
        (f"restrict {KEY}", "options"),
        (f"{KEY}\n{OTHER_KEY}", "line breaks"),
        (f"{KEY} \u202eecila", "control characters"),
        (KEY[:-8], "damaged"),
        (KEY + "AAAA", "damaged"),
        (KEY.replace("ssh-ed25519 ", "ssh-rsa ", 1), "damaged"),
        (KEY[:40] + "!" + KEY[40:], "damaged"),
        (respelt(rsa_key(3072)), "damaged"),
        (f"ssh-ed25519-cert-v01@openssh.com {KEY.split()[1]}", "certificate"),
        (security_key(b"https://example.org"), "made for something else"),
        (security_key()[:-4], "damaged"),
        (rsa_key(3071), "3071 bits"),
        (rsa_key(16392), "16392 bits"),
        (PRIVATE_KEY, "PRIVATE KEY"),
    ],
)
def test_refused_keys(line: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        check_ssh_key(line)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", [0, 1, P - 1, *OF_ORDER_8, P, P + 1, P + 5, 2**255 - 1])
def test_ed25519_keys_that_need_no_private_key(y: int, sign: int) -> None:
    key = ed25519_of(y, sign)
    with pytest.raises(RefusedError, match="anybody can sign"):
        check_ssh_key(key)
    blob = base64.b64decode(key.split()[1])
    token = b"".join(
        struct.pack(">I", len(part)) + part
        for part in (b"sk-ssh-ed25519@openssh.com", blob[-32:], b"ssh:")
    )
    with pytest.raises(RefusedError, match="anybody can sign"):
        check_ssh_key(f"sk-ssh-ed25519@openssh.com {base64.b64encode(token).decode()}")


def test_a_signature_without_a_private_key_verifies_with_such_a_key() -> None:
    """Why they are refused: R = identity, S = 0 is a signature of everything."""
    forged = (1).to_bytes(32, "little") + bytes(32)
    Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little")).verify(forged, b"any text")


def test_a_point_that_is_not_on_the_curve() -> None:
    with pytest.raises(RefusedError, match="damaged"):
        check_ssh_key(ed25519_of(2))


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_real_ed25519_key_is_taken(secret: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert check_ssh_key(line) == line


def test_an_rsa_key_with_a_small_factor() -> None:
    numbers = rsa.RSAPublicNumbers(65537, (1 << 3072) - 1)  # 3 divides it
    key = numbers.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    with pytest.raises(RefusedError, match="small factor"):
        check_ssh_key(key.decode())


@pytest.mark.parametrize(
    "name", ["-a", "a b", "a" * 33, "a\n", "älice", "", "a.b", "../a", "1a", "Al", "_apt"]
)
def test_no_user_names(name: str) -> None:
    with pytest.raises(RefusedError, match="cannot be a user name"):
        check_researcher_name(name)


@pytest.mark.parametrize("name", ["root", "docker", "sudo", "systemd-x"])
def test_names_that_the_machine_has_already(name: str) -> None:
    with pytest.raises(RefusedError, match="system user"):
        check_researcher_name(name)


@pytest.mark.parametrize("name", ["retired", "unknown", "localhost", "secondlock-sync"])
def test_names_that_mean_something_else_here(name: str) -> None:
    with pytest.raises(RefusedError, match="reserved by Secondlock"):
        check_researcher_name(name)


@pytest.mark.parametrize(
    ("cidrs", "is_open"),
    [
        (["10.0.0.0/8"], False),
        (["10.0.0.0/8", "10.1.0.0/16"], False),  # counted once
        (["127.0.0.0/8", "198.51.100.0/24", "3001::/16"], False),
        (["10.0.0.0/7"], True),
        (["10.0.0.0/8", "198.51.100.1/32"], True),
        (["0.0.0.0/9", "64.0.0.0/9", "128.0.0.0/32"], True),
        (["2000::/15"], True),
        (["3001::/16", "3002::/128"], True),
        (["2001::/32"], True),  # Teredo: all of IPv4, through any of its servers
        (["2001:0:4136:e378::/64"], True),
        (["2001::f500:0/104"], False),  # 10.0.0.0/8, each bit turned
        (["2001::f500:0/104", "10.0.0.0/8"], False),
        (["2001::f500:0/104", "11.0.0.0/8"], True),
        (["2002::/16"], True),  # 6to4: all of IPv4
        (["2002:a00::/24"], False),
        (["2002:a00::/24", "2002:b00::/24"], True),
        (["2002:a00::/24", "11.0.0.0/8"], True),
        (["64:ff9b::/96"], True),  # NAT64: all of IPv4
        (["64:ff9b::a00:0/104"], False),
        (["64:ff9b::a00:0/104", "64:ff9b:1::b00:0/104"], True),
        (["::fffe:0:0/95"], True),  # IPv4 as sockets of IPv6 show it
        (["::/0"], True),
    ],
)
def test_open_to_the_world(cidrs: list[str], is_open: bool, folder: Path) -> None:
    assert is_world_open(cidrs) is is_open
    quoted = ", ".join(f"'{cidr}'" for cidr in cidrs)
    text = request_text(allowed_from=f"[{quoted}]")
    (folder / "alice.yaml").write_text(text + "open_to_world: true\n")
    assert load_folder(folder).people[0].open_to_world
    (folder / "alice.yaml").write_text(text)
    assert not is_open or "open to the world" in problems(folder)[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 11), st.integers(0, 5))
def test_cutting_a_network_up_does_not_make_it_smaller(start: int, prefix: int, cuts: int) -> None:
    network = ipaddress.IPv4Network((start, prefix), strict=False)
    parts = [str(part) for part in network.subnets(prefixlen_diff=cuts)]
    assert is_world_open(parts) == is_world_open([str(network)])


def test_the_fields_of_aws(folder: Path) -> None:
    machine = "{instance_type: g5.2xlarge, spot: true, public: false, zone: eu-west-1b}"
    (folder / "alice.yaml").write_text(
        request_text(
            machine=machine,
            cost_centre="42",
            until="2027-01-31",
            closed_from="2027-01-20T12:00+08:00",
        ).replace("42", "'42'")
    )
    (alice,) = load_folder(folder).people
    size = alice.machine
    assert isinstance(size, MachineSize)
    assert (size.instance_type, size.zone) == ("g5.2xlarge", "eu-west-1b")
    assert (size.spot, size.public) == (True, False)
    assert (alice.cost_centre, alice.until) == ("42", dt.date(2027, 1, 31))
    assert alice.closed_from == dt.datetime(2027, 1, 20, 4, tzinfo=dt.timezone.utc)
    found = [str(one) for one in local.check_requests(load_folder(folder))]
    assert [one.split(": ")[1] for one in found] == [
        f"machine.{name}" for name in ("instance_type", "spot", "public", "zone")
    ]
    assert all("says nothing on the target local (remove it)" in one for one in found)


def test_aws_target_holds_no_sizes_and_no_loopback(folder: Path) -> None:
    (folder / "alice.yaml").write_text(
        request_text(machine="\n  cpus: 2\n  memory_gib: 4\n  zone: eu-west-1c")
    )
    (folder / "bob.yaml").write_text(
        request_text(
            researcher="bob",
            ssh_keys=f"[{OTHER_KEY}]",
            enrollment=f'"{IDS[1]}"',
            allowed_from="['2001:db8::/32']",
        )
    )
    found = aws.check_requests(load_folder(folder), aws_settings(zones="eu-west-1a,eu-west-1b"))
    lines = [str(one).replace(f"{folder}/", "") for one in found]
    assert [line.split(" ")[0] + line.split(" ")[1] for line in lines] == [
        "alice.yaml:6:machine.cpus:",
        "alice.yaml:7:machine.memory_gib:",
        "alice.yaml:8:machine.zone:",
        "alice.yaml:3:allowed_from[0]:",
        "bob.yaml:3:allowed_from:",
    ]


def test_local_target_holds_loopback_only(folder: Path) -> None:
    (folder / "alice.yaml").write_text(
        request_text(allowed_from="\n- 127.0.0.0/8\n- 203.0.113.0/24\n- '::1/128'\n- '::/128'")
    )
    found = [
        str(one).replace(f"{folder}/", "") for one in local.check_requests(load_folder(folder))
    ]
    assert [one.split(" cannot hold")[0] for one in found] == [
        "alice.yaml:5: allowed_from[1]: `203.0.113.0/24`",
        "alice.yaml:7: allowed_from[3]: `::/128`",
    ]
    assert "10.0.2.2" in found[0]


def objected(folder: Path, **config: str) -> list[str]:
    """What the target objects to in a folder where something else is wrong too."""
    _, known = read_folder(folder)
    assert known
    values = {f"secondlock:{key}": value for key, value in config.items()}
    found = check_stack("demo", folder.parents[1], values).in_requests
    lines = [str(one).replace(f"{folder}/", "") for one in found if one not in known]
    return [line.split(": ")[0] + ": " + line.split(": ")[1] for line in lines]


def test_what_a_target_objects_to_beside_other_mistakes(folder: Path) -> None:
    """In the file that has them, and in others; of what is wrong itself nothing more is said."""
    (folder / "alice.yaml").write_text(
        request_text(
            researcher="root",
            ssh_keys="",
            enrollment="none",
            machine="\n  cpus: many\n  memory_gib: 4\n  colour: red\n  zone: eu-west-1c",
        )
    )
    (folder / "bob.yaml").write_text("allowed_from: ['2001:db8::/32', everywhere]\ncolour: red\n")
    (folder / "carol.yaml").write_text(
        request_text(researcher="carol", ssh_keys=f"[{OTHER_KEY}]", enrollment=f'"{IDS[1]}"')
    )
    (folder / "dave.yaml").write_text("- no\n")
    (folder / "erin.yaml").write_text("machine: {cpus: 3}\nallowed_from: [10.0.0.0/8]\n")
    assert objected(folder, target="aws", zones="eu-west-1a") == [
        "alice.yaml:6: machine.memory_gib",
        "erin.yaml:1: machine.cpus",
        "alice.yaml:8: machine.zone",
        "alice.yaml:2: allowed_from[0]",
        "carol.yaml:3: allowed_from[0]",
    ]
    assert objected(folder, target="local") == [
        "alice.yaml:8: machine.zone",
        "erin.yaml:2: allowed_from[0]",
    ]
    assert objected(folder, target="gcp") == []
    assert "alice.yaml:8: machine.zone" not in objected(folder, target="aws", zones="here")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.lists(
            st.sampled_from(
                ["researcher", "ssh_keys", "machine", ": ", "\n", "\n- ", "{", "}", "[", "]", "'"]
                + ["1e5", "0b_", "~", "!", "&a", "*a", "<<", "=", "? ", "|", "1:2", "2026-99-99"]
            ),
            max_size=12,
        ).map(lambda parts: "".join(parts).encode()),
    )
)
@example(b"machine: {<<: {a: 1}}")
@example(b"rebuild: " + b"9" * 5000)
@example(b"? <")
@example(b"machine: {<size>: 1}")
@example(b"<name>: {machine: 1}")
def test_whatever_stands_in_a_file_is_a_problem_and_not_a_crash(
    folder: Path, content: bytes
) -> None:
    (folder / "alice.yaml").write_bytes(content)
    assert problems(folder)


def test_committed_schemas_are_up_to_date() -> None:
    """Else: python -m infra.model.schema."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.schema.json")} == texts()
