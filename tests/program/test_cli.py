"""The command line against a stack of the real engine, with a file backend.

The stack's program only exports what the real program exports: what it makes is tested elsewhere.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyrage
import pyrage.passphrase
import pytest
from PIL import Image

from cli import doctor_stack, engine, project
from cli.__main__ import main
from infra import enrollment
from infra.local import qemu
from infra.model.problems import ProblemsError
from infra.ssh_file import misleading
from tests.support.documents import ALICE, SEED, STATUS
from tests.support.programs import read_by_ssh

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import json, pathlib, pulumi
outputs = json.loads(pathlib.Path("outputs.json").read_text())
pulumi.export("machines", outputs["machines"])
pulumi.export("enrollments", pulumi.Output.secret(outputs["enrollments"]))
"""


def pulumi_folder() -> Path | None:
    """Where `pulumi` is: on PATH, or where `make setup` keeps it."""
    found = shutil.which("pulumi")
    if found:
        return Path(found).parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secondlock"
    return next((one.parent for one in sorted(cache.glob("pulumi-*/bin/pulumi"))), None)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stack `lab` is up, as its folder; the passphrase is only in its env file."""
    folder = pulumi_folder()
    if folder is None:
        pytest.skip("pulumi is neither on PATH nor in the cache (make setup)")
    root = tmp_path_factory.mktemp("lab project")  # with a space, as people have them
    state = root / ".secondlock" / "lab"
    (state / "pulumi").mkdir(parents=True)
    (state / "passphrase").write_text("correct horse")
    variables = {
        "PULUMI_BACKEND_URL": f"file://{state / 'pulumi'}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(state / "passphrase"),
        "PULUMI_HOME": str(root / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    lines = [f"export {name}='{value}'\n" for name, value in variables.items()]
    (state / "env").write_text(f"export PATH='{folder}':\"$PATH\"\n" + "".join(lines))
    (state / "env").chmod(0o600)
    (root / "Pulumi.yaml").write_text("name: lab\nruntime: python\nstackConfigDir: stacks\n")
    (root / "stacks").mkdir()
    (root / "__main__.py").write_text(PROGRAM)
    (root / "outputs.json").write_text(json.dumps(outputs(root)))
    venv = Path(__file__).resolve().parents[2] / ".venv" / "bin"
    path = os.pathsep.join([str(folder), str(venv), os.environ["PATH"]])
    for words in (["stack", "init", "lab"], ["up", "--yes", "--skip-preview", "--stack", "lab"]):
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=root,
            env={**os.environ, **variables, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return root


def outputs(root: Path) -> dict[str, Any]:
    """What the real program exports for two researchers with a machine each."""
    machines, enrollments = {}, {}
    for number, (name, factors) in enumerate({"alice": "key+totp", "bob": "password+totp"}.items()):
        one = enrollment.derive(
            SEED,
            stack="lab",
            machine=name,
            researcher=name,
            enrollment=f"{number + 10:032x}",
            method=factors,
        )
        enrollments[name] = {
            "machine": name,
            "enrollment": f"{number + 10:032x}",
            "factors": factors,
            **one.shown,
        }
        machines[name] = {
            "address": "127.0.0.1",
            "port": 40022 + number,
            "host_key": enrollment.derive_host_key(SEED, stack="lab", machine=name).public_openssh,
            "running": True,
            "serial": 3,
            "researchers": [name],
            "target": "local",
            "directory": str(root / "machines" / name),
        }
    return {"machines": machines, "enrollments": enrollments}


@pytest.fixture
def stack(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The stack's outputs, with the command line's project set to it and a bare environment."""
    monkeypatch.setattr(project, "ROOT", lab)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("PULUMI_", "XDG_", "SECONDLOCK"))]:
        monkeypatch.delenv(name)
    return outputs(lab)


def scanned(picture: bytes) -> str:
    """What a scanner reads in a picture of a QR."""
    if shutil.which("zbarimg") is None:
        pytest.skip("zbarimg is not installed (make setup)")
    done = subprocess.run(
        ["zbarimg", "--quiet", "--raw", "-"], input=picture, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def photographed(screen: str) -> bytes:
    """A picture of the half blocks on a screen, 6 pixels a module."""
    rows = []
    for line in screen.splitlines():
        signs = line.replace("\x1b[38;5;16;48;5;231m", "").replace("\x1b[0m", "")
        if not signs or set(signs) - set(" ▀▄█"):
            continue
        rows += [[sign in "▀█" for sign in signs], [sign in "▄█" for sign in signs]]
    image = Image.new("1", (len(rows[0]), len(rows)))
    image.putdata([not dark for row in rows for dark in row])
    picture = io.BytesIO()
    image.resize((image.width * 6, image.height * 6)).save(picture, "PNG")
    return picture.getvalue()


def test_enroll_shows_a_qr_that_scans_and_no_uri(
    stack: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["enroll", "bob", "--force"]) == 0
    screen = capsys.readouterr().out
    bob = stack["enrollments"]["bob"]
    assert scanned(photographed(screen)) == bob["uri"]
    assert all(code in screen for code in bob["emergency_codes"])
    assert bob["password"] in screen
    assert "otpauth:" not in screen
    assert main(["enroll", "bob", "--force", "--show-uri"]) == 0
    assert bob["uri"] in capsys.readouterr().out


def test_enroll_puts_no_secret_into_a_pipe(
    stack: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["enroll", "alice"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "--seal" in said.err


def test_enroll_writes_a_private_picture_once(
    stack: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    png = tmp_path / "alice.png"
    previous = os.umask(0)
    try:
        assert main(["enroll", "alice", "--png", str(png)]) == 0
    finally:
        os.umask(previous)
    alice = stack["enrollments"]["alice"]
    assert stat.S_IMODE(png.stat().st_mode) == 0o600
    assert scanned(png.read_bytes()) == alice["uri"]
    assert alice["emergency_codes"][0] not in capsys.readouterr().out
    before = png.read_bytes()
    assert main(["enroll", "bob", "--png", str(png)]) == 1
    assert f"{png}: is already there" in capsys.readouterr().err
    assert png.read_bytes() == before


def test_sealed_enrollment_opens_with_its_passphrase_only(
    stack: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed = tmp_path / "alice.age"
    assert main(["enroll", "alice", "--seal", str(sealed), "--json"]) == 0
    said = capsys.readouterr().out
    alice = stack["enrollments"]["alice"]
    assert alice["uri"] not in said
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    letter = pyrage.passphrase.decrypt(sealed.read_bytes(), json.loads(said)["passphrase"]).decode()
    assert scanned(photographed(letter)) == alice["uri"]
    assert all(code in letter for code in alice["emergency_codes"])
    with pytest.raises(pyrage.DecryptError):
        pyrage.passphrase.decrypt(sealed.read_bytes(), "another")


def test_enroll_json(stack: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enroll", "bob", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    bob = stack["enrollments"]["bob"]
    for name in ("uri", "emergency_codes", "password"):
        assert document[name] == bob[name]


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        (["enroll", "carol", "--force"], {}, "request carol --stack lab"),
        (["status", "--stack", "other"], {}, "there is no stack other"),
        (["enroll", "bob", "--force"], {"PULUMI_CONFIG_PASSPHRASE": "x"}, "is not the right one"),
        (["status"], {"PULUMI_BACKEND_URL": "file:///nowhere"}, "export PULUMI_BACKEND_URL="),
    ],
)
def test_faults_of_the_engine_name_the_mend(
    stack: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    variables: dict[str, str],
    told: str,
) -> None:
    other = project.ROOT / ".secondlock" / "other"
    if "other" in words and not other.exists():
        other.mkdir()
        shutil.copy(project.ROOT / ".secondlock/lab/env", other / "env")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main([*words, "--stack", "lab"] if "--stack" not in words else words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert len(said.err.splitlines()) == 1


def test_ssh_reads_the_config_as_meant(
    stack: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    state = project.ROOT / ".secondlock" / "lab"
    (state / "id_ed25519").touch()
    (state / "id_ed25519.pub").write_text("ssh-ed25519 AAAAbob bob@lab\n")
    (project.ROOT / "stacks" / "lab").mkdir()
    (project.ROOT / "stacks" / "lab" / "bob.yaml").write_text("ssh_keys: [ssh-ed25519 AAAAbob]\n")
    assert main(["ssh-config", "--stack", "lab"]) == 0
    config = state / "ssh_config"
    assert f"ssh -F '{config}' bob.lab" in capsys.readouterr().out
    options = read_by_ssh(config, "bob.lab")
    assert options["hostname"] == "127.0.0.1"
    assert (options["port"], options["user"]) == ("40023", "bob")
    assert options["stricthostkeychecking"] == "true"
    assert options["identityfile"] == str(state / "id_ed25519")
    assert read_by_ssh(config, "alice.lab")["identityfile"] != str(state / "id_ed25519")
    assert options["controlmaster"] == "auto"
    assert {"COLORTERM", "NO_COLOR"} <= set(options["sendenv"].split())
    folder = Path(options["controlpath"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(str(folder)) + 1 + 40 + 17 < 108
    found = subprocess.run(
        ["ssh-keygen", "-F", options["hostkeyalias"], "-f", state / "known_hosts"],
        capture_output=True,
        text=True,
    )
    assert stack["machines"]["bob"]["host_key"].split()[1] in found.stdout
    jupyter = read_by_ssh(config, "bob.lab.jupyter")
    assert jupyter["controlmaster"] == "false"
    assert jupyter["exitonforwardfailure"] == "yes"
    assert "controlpath" not in jupyter


def test_the_tunnel_to_jupyter_leads_to_the_port_whose_address_is_shown(
    stack: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = project.ROOT / ".secondlock" / "lab" / "ssh_config"
    with socket.create_server(("127.0.0.1", 0)) as other_program:
        port = other_program.getsockname()[1]
        monkeypatch.setattr("cli.ssh_config._PORT", port)
        assert main(["ssh-config", "--stack", "lab"]) == 0
        jupyter = read_by_ssh(config, "bob.lab.jupyter")
        leads = jupyter["localforward"]
        found = re.fullmatch(r"\[127\.0\.0\.1\]:(\d+) \[127\.0\.0\.1\]:8888", leads)
        assert found
        assert int(found[1]) != port
        assert jupyter["remotecommand"] == f"secondlock-jupyter {found[1]}"
        assert read_by_ssh(config, "alice.lab.jupyter")["localforward"] != jupyter["localforward"]
        assert "localforward" not in read_by_ssh(config, "bob.lab")
    jupyter = read_by_ssh(config, "bob.lab.jupyter")
    assert jupyter["localforward"] == f"[127.0.0.1]:{port} [127.0.0.1]:8888"
    assert jupyter["remotecommand"] == "secondlock-jupyter"


def test_what_is_written_for_windows_names_nothing_of_this_computer(
    stack: dict[str, Any], lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ssh-config", "--stack", "lab", "--windows", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    config, known_hosts = Path(said["ssh_config"]), Path(said["known_hosts"])
    text = config.read_text()
    assert str(lab) not in text
    assert "/dev/null" not in text
    for host in ("alice.lab", "alice.lab.jupyter"):
        told = subprocess.run(
            ["ssh", "-G", "-F", str(config), host], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert "controlmaster false" in told
        assert "hostkeyalias alice.lab.secondlock" in told
        assert f"port {stack['machines']['alice']['port']}" in told
        known = next(line for line in told if line.startswith("userknownhostsfile "))
        assert known.endswith(f"/.ssh/{known_hosts.name}")
    assert stack["machines"]["alice"]["host_key"].strip() in known_hosts.read_text()


def test_ssh_goes_to_the_port_that_a_machine_has_today(stack: dict[str, Any]) -> None:
    assert main(["ssh-config", "--stack", "lab"]) == 0
    folder = Path(stack["machines"]["bob"]["directory"])
    folder.mkdir(parents=True)
    qemu._write_spec(qemu.MachineSpec("bob", folder, folder, folder, folder, ssh_port=40099))
    config = project.ROOT / ".secondlock" / "lab" / "ssh_config"
    assert read_by_ssh(config, "bob.lab")["port"] == "40099"
    assert read_by_ssh(config, "bob.lab.jupyter")["port"] == "40099"
    assert read_by_ssh(config, "alice.lab")["port"] == "40022"


@pytest.fixture
def guest() -> Iterator[dict[str, Any]]:
    """What the guest agent of alice's machine answers as status; it may be changed."""
    said = json.loads(json.dumps(STATUS))
    folder = project.ROOT / "machines" / "alice"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "agent.sock"
    path.unlink(missing_ok=True)
    before = Path.cwd()
    server = socket.socket(socket.AF_UNIX)
    os.chdir(folder)
    server.bind("agent.sock")  # the whole path is too long for a socket
    os.chdir(before)
    server.listen()
    thread = threading.Thread(target=serve, args=(server, said), daemon=True)
    thread.start()
    yield said
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    path.unlink()
    thread.join()


def serve(server: socket.socket, said: dict[str, Any]) -> None:
    """As qemu-ga, for one program: https://qemu-project.gitlab.io/qemu/interop/qemu-ga-ref.html"""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, connection.makefile("rwb") as stream:
            for line in stream:
                asked = json.loads(line.rpartition(b"\xff")[2])
                answers = {
                    "guest-sync-delimited": asked.get("arguments", {}).get("id"),
                    "guest-get-time": time.time_ns() - round(said.get("behind", 0.0) * 1e9),
                    "guest-exec": {"pid": 7},
                    "guest-exec-status": {
                        "exited": True,
                        "exitcode": 0,
                        "out-data": base64.b64encode(json.dumps(said).encode()).decode(),
                    },
                }
                answer = json.dumps({"return": answers[asked["execute"]]}).encode()
                delimiter = b"\xff" if asked["execute"] == "guest-sync-delimited" else b""
                stream.write(delimiter + answer + b"\n")
                stream.flush()


def test_status_tells_up_from_down(
    stack: dict[str, Any], guest: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--stack", "lab", "--json"]) == 1
    machines = json.loads(capsys.readouterr().out)["machines"]
    alice, bob = machines["alice"], machines["bob"]
    assert (alice["state"], bob["state"]) == ("running", "down")
    assert alice["problems"] == []
    assert bob["problems"][0]["mend"].endswith("/env' && pulumi up --stack lab")
    for name in ("address", "port", "host_key"):
        assert alice[name] == stack["machines"]["alice"][name]
    assert alice["roster"] == {"wanted": 3, "applied": 3}
    assert abs(alice["clock"]["offset_seconds"]) < 0.5
    assert alice["researchers"]["alice"]["emergency_codes_left"] == 5
    assert main(["status", "--stack", "lab"]) == 1
    table = capsys.readouterr().out
    assert "bob is not running (" in table


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("  Port 40023\n", "  Port 40024\n"),
        ("  HostName 127.0.0.1\n", "  HostName 127.0.0.2\n"),
        ("/.secondlock/lab/known_hosts", "/elsewhere/.secondlock/lab/known_hosts"),
        ("Host alice.lab\n", "Host alice.lab alina.lab\n"),
    ],
    ids=["port", "address", "folder", "person"],
)
def test_status_says_when_ssh_is_told_of_what_was_before(
    stack: dict[str, Any], capsys: pytest.CaptureFixture[str], now: str, then: str
) -> None:
    assert main(["ssh-config", "--stack", "lab"]) == 0
    capsys.readouterr()
    main(["status", "--stack", "lab", "--json"])
    assert json.loads(capsys.readouterr().out)["problems"] == []
    config = project.ROOT / ".secondlock" / "lab" / "ssh_config"
    assert now in config.read_text()
    config.write_text(config.read_text().replace(now, then))
    assert main(["status", "--stack", "lab"]) == 1
    assert "./secondlock ssh-config --stack lab" in capsys.readouterr().out
    main(["status", "--stack", "lab", "--json"])
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["file"].endswith("ssh_config")


@pytest.mark.parametrize(
    ("now", "then", "told"),
    [
        ("  HostName 127.0.0.1\n", "  HostName 127.0.0.2\n", "alice.lab at 127.0.0.1"),
        ("Host alice.lab\n", "Host alina.lab\n", "it does not know alice.lab"),
        ("ssh-ed25519 A", "ssh-ed25519 B", "it does not know alice's host key"),
    ],
    ids=["address", "person", "host key"],
)
def test_up_says_so_too(stack: dict[str, Any], lab: Path, now: str, then: str, told: str) -> None:
    state = lab / ".secondlock" / "lab"
    assert main(["ssh-config", "--stack", "lab"]) == 0
    assert misleading(state, "lab", stack["machines"]) is None
    gone = {name: machine for name, machine in stack["machines"].items() if name != "bob"}
    assert misleading(state, "lab", gone) == "it has bob.lab, who is not there any more"
    for name in ("ssh_config", "known_hosts"):
        path = state / name
        path.write_text(path.read_text().replace(now, then))
    assert told in (misleading(state, "lab", stack["machines"]) or "")
    (state / "known_hosts").unlink()
    assert misleading(state, "lab", stack["machines"]) is None


def test_up_raises_no_false_alarm(stack: dict[str, Any], lab: Path) -> None:
    state = lab / ".secondlock" / "lab"
    assert main(["ssh-config", "--stack", "lab"]) == 0
    # A local machine's port is found by ssh itself; a stack may be called as a kind of host is.
    moved = {name: {**one, "port": 1} for name, one in stack["machines"].items()}
    assert misleading(state, "lab", moved) is None
    for name in ("ssh_config", "known_hosts"):
        (state / name).write_text((state / name).read_text().replace(".lab", ".code"))
    assert misleading(state, "code", stack["machines"]) is None


def test_scripts_are_told_whether_ssh_knows_the_machines_of_today(
    stack: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.ROOT / ".secondlock" / "lab"
    for name in ("ssh_config", "known_hosts"):
        (folder / name).unlink(missing_ok=True)
    check = ["ssh-config", "--check", "--stack", "lab"]
    assert main(check) == 1
    assert "is not written yet" in capsys.readouterr().err
    assert not (folder / "ssh_config").exists()
    assert main(["ssh-config", "--stack", "lab"]) == 0
    assert main(check) == 0
    # A machine came back with another host key: nobody is asked about it, ssh refuses.
    known = folder / "known_hosts"
    known.write_text(known.read_text().replace("ssh-ed25519 AAAA", "ssh-ed25519 AAAB", 1))
    capsys.readouterr()
    assert main([*check, "--json"]) == 1
    said = capsys.readouterr()
    (problem,) = json.loads(said.out or said.err)["problems"]
    assert problem["file"].endswith("known_hosts")
    assert problem["mend"] == "./secondlock ssh-config --stack lab"


def test_status_shows_the_gpu_and_who_has_it(
    stack: dict[str, Any], guest: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = {"count": 1, "models": ["Tesla T4"], "driver": "550.163.01", "listed": True}
    alice = {**ALICE, "gpu": True}
    guest.update(gpu=gpu, researchers={"alice": alice})
    main(["status", "--stack", "lab", "--json"])
    machine = json.loads(capsys.readouterr().out)["machines"]["alice"]
    assert machine["gpu"] == gpu
    assert machine["researchers"]["alice"]["gpu"] is True
    main(["status", "--stack", "lab"])
    table = capsys.readouterr().out
    assert "Tesla T4" in table
    assert "driver 550.163.01" in table
    assert "with GPU" in table


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"gpu": {"count": 1, "models": [], "driver": None, "listed": False}},
            "GPU cannot be used, logins are let in without it: its driver is not loaded",
        ),
        ({"bundle": {"version": "0a" * 32}}, "another version of what is ours"),
        ({"bundle": {"version": "0a" * 32, "error": "sshd -t"}}, "was not upgraded: sshd -t"),
        ({"behind": 3600.0}, "3600 s behind"),
        (
            {"researchers": {"alice": {**ALICE, "codes_void": True}}},
            "secondlock codes alice --stack lab",
        ),
        ({"serial": 2}, "has roster 2, not 3"),
        ({"error": "roster: \x1b[2Jnot JSON"}, r"roster: \x1b[2Jnot JSON"),
        ({"researchers": {"alice": {**ALICE, "frozen": True}}}, "rotate"),
        ({"bans": ["10.0.2.2"]}, "everybody on this computer"),
        ({"door": "shut"}, "sshd does not run"),
        (
            {
                "researchers": {
                    one: {**ALICE, "workspace": "none: x cannot be fetched: 403"} for one in "ab"
                }
            },
            "no workspace can be made on alice: x cannot be fetched: 403",
        ),
        ({"researchers": {"alice": {**ALICE, "workspace": "unknown"}}}, "Docker does not answer"),
        ({"error": "the system disk is full: no workspaces"}, "raise `rebuild` in the request"),
    ],
)
def test_status_says_what_needs_attention(
    stack: dict[str, Any],
    guest: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    told: str,
) -> None:
    guest.update(change)
    assert main(["status", "--stack", "lab", "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["machines"]["alice"]["problems"]
    assert told in problem["what"] + problem["mend"]


def test_doctor_says_what_stops_the_next_login(
    stack: dict[str, Any], guest: dict[str, Any]
) -> None:
    kind = "secondlock:local:Machine$pulumi-python:dynamic/secondlock:Machine"
    known = engine.State(resources=[engine.Resource(urn=f"urn:pulumi:lab::x::{kind}::alice")])
    chosen = project.choose_stack("lab")
    guest["behind"] = 3600.0
    said = {one.what: one.verdict for one in doctor_stack._logins(chosen, known)}
    assert any("alice's clock is 3600 s behind" in what for what in said)
    assert any("bob is not running" in what for what in said)
    assert set(said.values()) == {"stop"}


def test_a_retired_enrollment_is_not_shown_again(
    stack: dict[str, Any], lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lab / "stacks" / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    retired = folder / "retired.yaml"
    retired.write_text(
        "retired:\n"
        f'  - {{enrollment: "{stack["enrollments"]["alice"]["enrollment"]}", researcher: alice,'
        " reason: rotated, date: 2026-11-22}\n"
    )
    try:
        assert main(["enroll", "alice", "--stack", "lab", "--json"]) == 1
    finally:
        retired.unlink()
    printed = capsys.readouterr()
    (problem,) = json.loads(printed.out)["problems"]
    assert "is retired" in problem["what"]
    assert "pulumi up" in problem["mend"]
    assert "otpauth" not in printed.out


def test_settings_are_written_by_pulumi_itself(stack: dict[str, Any], lab: Path) -> None:
    chosen = project.Stack("lab", lab)
    digest = f"tensorflow/tensorflow@sha256:{'a' * 64}"
    engine.set_config(
        chosen, {"secondlock:baseImage": "ami-1", "secondlock:tensorflowImage": digest}
    )
    assert chosen.value("secondlock:baseImage") == "ami-1"
    assert chosen.value("secondlock:tensorflowImage") == digest
    with pytest.raises(ProblemsError, match="there is no stack other"):
        engine.set_config(project.Stack("other", lab), {"secondlock:baseImage": "ami-1"})
