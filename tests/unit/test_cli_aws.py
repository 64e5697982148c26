"""The command line against an AWS account: moto's, so that requests and answers are real ones.

moto knows no quotas of EC2 and no owner but its own account: those two are given to its backends.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import pytest
import yaml
from botocore.config import Config
from moto import mock_aws
from moto.core import enable_iam_authentication
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse

from cli import project
from cli.__main__ import main
from cli.aws import images
from cli.aws import status as status_aws
from cli.aws.session import session
from cli.engine import Machine
from cli.project import Stack
from cloudinit.guest.audit import chain
from infra.aws import plugin
from infra.model.problems import ProblemsError
from tests.support.documents import ALICE, STATUS
from tests.support.programs import program, read_by_ssh, stand_in
from tests.support.web_page import web_page

REGION = "eu-central-1"
ZONES = [f"{REGION}a", f"{REGION}b"]
GROUP = "/secondlock/gpu"
TYPE = "g4dn.xlarge"
REQUEST = {
    "allowed_from": ["192.0.2.0/24"],
    "factors": "password+totp",
}
GIVEN = f"tensorflow/tensorflow@sha256:{'b' * 64}"
G_ON_DEMAND, G_SPOT, P_ON_DEMAND = "L-DB2E81BA", "L-3819A6DF", "L-417A185B"
ADDRESSES = "L-0263D0A3"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with the stack `gpu` on aws, and a person without credentials."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith(("AWS_", "SECONDLOCK", "PULUMI"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    configure(tmp_path)
    with patch.dict(os.environ):  # a command takes what the stack's own file says into its own
        yield tmp_path


def configure(root: Path, **values: Any) -> None:
    """Write the stack's configuration."""
    path = root / "stacks" / "Pulumi.gpu.yaml"
    path.parent.mkdir(exist_ok=True)
    config = {
        "aws:region": REGION,
        "secondlock:target": "aws",
        "secondlock:zones": ",".join(ZONES),
        "secondlock:onDestroy": "delete",
        "secondlock:enrollmentSeed": {"secure": "v1:abc"},
        "secondlock:seedFingerprint": "0" * 16,
        "secondlock:baseImage": "ami-00000000",
        "secondlock:tensorflowImage": f"tensorflow/tensorflow@sha256:{'a' * 64}",
        **{name.replace("__", ":"): value for name, value in values.items()},
    }
    kept = {key: value for key, value in config.items() if value}
    path.write_text(yaml.safe_dump({"config": kept}))
    if (root / "bin").exists():
        stand_in(root / "bin", {key: one for key, one in kept.items() if isinstance(one, str)})


def ask(root: Path, researcher: str, **machine: Any) -> None:
    """Write a request."""
    path = root / "stacks" / "gpu" / f"{researcher}.yaml"
    path.parent.mkdir(exist_ok=True)
    number = len(list(path.parent.iterdir()))
    request = {"researcher": researcher, "enrollment": f"{number + 1:032x}", **REQUEST}
    path.write_text(yaml.safe_dump({**request, "machine": machine} if machine else request))


@pytest.fixture
def aws(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty account; gives EC2's client."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # hundreds: seconds for each test
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


class Quotas(dict[str, float]):
    """The values that Service Quotas answers with, by code."""

    def get_service_quota(self, service_code: str, quota_code: str) -> dict[str, Any]:
        """As moto's backend, which has no others than the VPC's."""
        if quota_code not in self:
            raise NoSuchResource
        return {"QuotaCode": quota_code, "ServiceCode": service_code, "Value": self[quota_code]}


@pytest.fixture
def quotas(monkeypatch: pytest.MonkeyPatch) -> Quotas:
    """A grown-up account's quotas."""
    values = Quotas({G_ON_DEMAND: 64, G_SPOT: 0, P_ON_DEMAND: 0, ADDRESSES: 5})
    values |= {"L-F678F1CE": 5, "L-7A658B76": 50}
    monkeypatch.setattr(
        ServiceQuotasBackend,
        "get_service_quota",
        lambda _, service_code, quota_code: values.get_service_quota(service_code, quota_code),
    )
    return values


@pytest.fixture
def debian(root: Path, aws: Any) -> str:
    """The pinned AMI: Debian 13, older than another one."""
    make_image(aws, "debian-13-amd64-20260801-2200", created="2026-08-01")
    ami = make_image(aws, "debian-13-amd64-20261101-2292", created="2026-11-01")
    make_image(aws, "debian-12-amd64-20261110-2300", created="2026-11-10")
    configure(root, secondlock__baseImage=ami)
    return ami


def make_image(
    aws: Any,
    name: str,
    *,
    created: str,
    owner: str = images.DEBIAN_OWNER,
    region: str = REGION,
) -> str:
    """An AMI, with what moto does not take from RegisterImage set on it."""
    ami: str = aws.register_image(Name=name, Architecture="x86_64", RootDeviceName="/dev/xvda")[
        "ImageId"
    ]
    made = ec2_backends[DEFAULT_ACCOUNT_ID][region].amis[ami]
    made.owner_id, made.architecture = owner, "x86_64"
    made.creation_date = dt.datetime.fromisoformat(f"{created}T00:00:00+00:00")
    return ami


def launch(aws: Any, researcher: str, **tags: str) -> str:
    """An instance of the stack."""
    named = {"secondlock:stack": "gpu", "secondlock:researcher": researcher, **tags}
    reservation = aws.run_instances(
        ImageId=aws.describe_images()["Images"][0]["ImageId"],
        InstanceType=TYPE,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [{"Key": key, "Value": value} for key, value in named.items()],
            }
        ],
    )
    instance: str = reservation["Instances"][0]["InstanceId"]
    return instance


def machine(name: str, instance: str, *, public: bool = True) -> Machine:
    """A machine as the stack's output has it."""
    return Machine.model_validate(
        {
            "address": "192.0.2.7" if public else instance,
            "port": 22,
            "host_key": "ssh-ed25519 AAAA",
            "running": True,
            "serial": 3,
            "researchers": [name],
            "target": "aws",
            "directory": "",
            "instance_id": instance,
            "region": REGION,
            "zone": ZONES[0],
            "log_group": GROUP,
            "public": public,
        }
    )


def say(name: str, line: dict[str, Any] | str) -> None:
    """What the machine writes to its stream."""
    logs = boto3.client("logs", region_name=REGION)
    stream = f"{name}/status"
    groups = logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]
    if not groups:
        logs.create_log_group(logGroupName=GROUP)
    known = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=stream)["logStreams"]
    if not known:
        logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    message = line if isinstance(line, str) else json.dumps(line)
    event = {"timestamp": int(time.time() * 1000), "message": message}
    logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=[event])  # type: ignore[list-item]


@pytest.fixture
def stack(root: Path, aws: Any, debian: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Machine]:
    """Alice's machine, which has spoken, and the stack's output of it."""
    ask(root, "alice")
    instance = launch(aws, "alice", **{"secondlock:rebuild": "0"})
    everything = {"alice": machine("alice", instance)}
    monkeypatch.setattr("cli.status.machines", lambda _: everything)
    for _ in range(7):
        say("alice", {**STATUS, "serial": 2})
    say("alice", STATUS)
    return everything


def alices(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    """What status says of her machine."""
    assert main(["status", "--stack", "gpu", "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["machines"]["alice"]
    return found


def test_status_is_the_machines_last_line(
    stack: dict[str, Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    alice = alices(capsys)
    assert alice["state"] == "running"
    assert alice["roster"] == {"wanted": 3, "applied": 3}
    assert alice["clock"]["offset_seconds"] == 0.0012
    assert alice["researchers"]["alice"]["emergency_codes_left"] == 5
    assert 0 <= alice["said_seconds_ago"] < 60
    assert alice["instance"]["state"] == "running"
    assert alice["problems"] == []


def test_the_record_is_read_from_its_own_log_group_and_ends_as_the_machine_says(
    stack: dict[str, Machine], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cli.audit.machines", lambda _: stack)
    monkeypatch.setattr("cli.audit._PAUSES", (0.0,))
    logs = boto3.client("logs", region_name=REGION)
    logs.create_log_group(logGroupName=f"{GROUP}/audit")
    head, lines = chain.Head(), []
    for number in range(30):
        said = {"time": f"2026-11-27T12:00:{number:02}.000Z", "kind": "command", "person": "alice"}
        line, head = chain.seal(head, {**said, "what": f"run {number}", "result": "started"})
        lines.append({"timestamp": int(time.time() * 1000), "message": line})
    for name in ("alice", "gone"):
        place = {"logGroupName": f"{GROUP}/audit", "logStreamName": name}
        logs.create_log_stream(**place)
        for first in range(0, 30, 10):
            logs.put_log_events(**place, logEvents=lines[first : first + 10])  # type: ignore[arg-type]
    say("alice", {**STATUS, "audit": {"seq": 30, "hash": head.hash}})
    assert main(["audit", "--stack", "gpu", "--json", "--person", "alice"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    assert [each["machine"] for each in records].count("alice") == 30
    assert len(records) == 60
    assert main(["audit", "--stack", "gpu", "--verify"]) == 0
    said_all = capsys.readouterr().out
    assert "alice: 30 records, the chain holds\n" in said_all
    assert "gone: 30 records, the chain holds; the machine was not asked" in said_all
    say("alice", {**STATUS, "audit": {"seq": 31, "hash": "ab" * 32}})
    assert main(["audit", "--stack", "gpu", "--verify"]) == 1
    assert "alice: record 31 is missing" in capsys.readouterr().err
    say("alice", {**STATUS, "audit": {"seq": 30, "hash": head.hash}})
    logs.delete_log_stream(**place)
    logs.create_log_stream(**place)
    logs.put_log_events(**place, logEvents=lines[10:])  # type: ignore[arg-type]
    assert main(["audit", "--stack", "gpu", "--verify"]) == 1
    assert "gone: records 1 to 10 are missing" in capsys.readouterr().err


def test_what_is_recorded_and_still_under_way_is_waited_for(
    stack: dict[str, Machine], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cli.audit.machines", lambda _: stack)
    logs = boto3.client("logs", region_name=REGION)
    logs.create_log_group(logGroupName=f"{GROUP}/audit")
    place = {"logGroupName": f"{GROUP}/audit", "logStreamName": "alice"}
    logs.create_log_stream(**place)
    said = {"time": "2026-11-27T12:00:00.000Z", "kind": "change", "what": "x", "result": "done"}
    line, head = chain.seal(chain.Head(), said)
    say("alice", {**STATUS, "audit": {"seq": 1, "hash": head.hash}})

    def arrive(_: float) -> None:
        sent = [{"timestamp": int(time.time() * 1000), "message": line}]
        logs.put_log_events(**place, logEvents=sent)  # type: ignore[arg-type]

    monkeypatch.setattr("cli.audit.time.sleep", arrive)
    assert main(["audit", "--stack", "gpu", "--verify"]) == 0
    assert "alice: 1 records, the chain holds\n" in capsys.readouterr().out


def test_what_a_first_up_left_is_named_though_the_stack_is_not_up(
    root: Path, aws: Any, debian: str, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = launch(aws, "alice")
    assert main(["status", "--stack", "gpu"]) == 1
    told = capsys.readouterr().err
    assert "stack gpu is not up" in told
    assert f"aws ec2 terminate-instances --instance-ids {instance} --region {REGION}" in told


def test_commands_to_type_ask_in_the_stacks_account(
    root: Path,
    stack: dict[str, Machine],
    aws: Any,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    profile(root, "a lab", secondlock__baseImage=images_of(aws)[0])
    quotas[G_ON_DEMAND] = 1
    stray = launch(aws, "bob")
    where = f" --region {REGION} --profile 'a lab'"
    main(["status", "--stack", "gpu", "--json"])
    (left,) = json.loads(capsys.readouterr().out)["problems"]
    assert left["mend"] == f"aws ec2 terminate-instances --instance-ids {stray}{where}"
    found = doctor(capsys, 1)
    told = {one["mend"] for one in (*found["vCPUs"], *found["strays"])}
    assert all(one.startswith("aws ") and one.endswith(where) for one in told), told
    aws.stop_instances(InstanceIds=[stack["alice"].instance_id])
    assert alices(capsys, 1)["problems"][0]["mend"].endswith(where)
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=12)
    aws.start_instances(InstanceIds=[stack["alice"].instance_id])
    monkeypatch.setattr(status_aws, "_now", lambda: later)
    look, restart = alices(capsys, 1)["problems"][0]["mend"].split("; then ")
    assert look.endswith(where)
    assert restart.endswith(where)
    # Where the shell need not know it: the stack's own environment file has it.
    profile(root, "a lab", aws__profile="")
    own = root / ".secondlock" / "gpu" / "env"
    own.parent.mkdir(parents=True)
    own.write_text("export AWS_PROFILE='a lab'\n")
    own.chmod(0o600)
    assert alices(capsys, 1)["problems"][0]["mend"].split("; then ")[0].endswith(where)


def images_of(aws: Any) -> list[str]:
    """The ids of the AMIs that are there."""
    return sorted(one["ImageId"] for one in aws.describe_images()["Images"])


def test_a_silent_machine_is_said_to_be_silent_since(
    stack: dict[str, Machine],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=12)
    monkeypatch.setattr(status_aws, "_now", lambda: later)
    alice = alices(capsys, 1)
    assert alice["state"] == "silent"
    assert re.search(r"silent since \d{4}-\d\d-\d\d .* \(12 min\)", alice["problems"][0]["what"])
    assert "aws ec2 get-console-output" in alice["problems"][0]["mend"]


@pytest.mark.parametrize(
    ("action", "state", "told"),
    [
        ("stop_instances", "stopped", "aws ec2 start-instances --instance-ids i-"),
        ("terminate_instances", "terminated", "pulumi refresh --stack gpu"),
    ],
)
def test_ec2_tells_why_a_machine_is_silent(
    stack: dict[str, Machine],
    aws: Any,
    capsys: pytest.CaptureFixture[str],
    action: str,
    state: str,
    told: str,
) -> None:
    getattr(aws, action)(InstanceIds=[stack["alice"].instance_id])
    alice = alices(capsys, 1)
    assert alice["state"] == state
    assert told in alice["problems"][0]["mend"]
    assert alice["clock"] is None


def test_a_machine_that_is_gone_or_never_spoke(
    stack: dict[str, Machine], aws: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stack["bob"] = machine("bob", launch(aws, "bob"))
    stack["carol"] = machine("carol", "i-0123456789abcdef0")
    assert main(["status", "--stack", "gpu", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["machines"]
    assert found["alice"]["problems"] == []
    assert "has not said anything yet" in found["bob"]["problems"][0]["what"]
    assert found["carol"]["state"] == "gone"


def test_what_a_machine_says_is_judged_as_on_local(
    stack: dict[str, Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = {"synchronised": False, "offset_seconds": 3600.0, "source": None}
    say("alice", {**STATUS, "serial": 2, "clock": clock})
    roster, time_off = alices(capsys, 1)["problems"]
    assert "has roster 2, not 3" in roster["what"]
    assert "3600 s behind" in time_off["what"]
    say("alice", {**STATUS, "serial": 7})  # before its parameter was made anew
    (roster,) = alices(capsys, 1)["problems"]
    assert "has roster 7, not 3" in roster["what"]
    say("alice", "Traceback (most recent call last):")
    assert alices(capsys, 1)["roster"]["applied"] == 7
    say("alice", '{"time": "\x1b[2J"')
    (problem,) = alices(capsys, 1)["problems"]
    assert "cannot be read" in problem["what"]
    assert "\x1b" not in problem["what"]


IMAGE = "none: its image is being fetched since 2026-11-22T16:00:00Z"


FAULTS: list[tuple[dict[str, Any], tuple[str, str, str] | None]] = [
    (
        {"error": "roster 4 is refused", "serial": 2},
        ("stop", "roster 4 is refused; it has roster 2, not 3", "secondlock-fetch"),
    ),
    ({"clock": {"synchronised": False, "offset_seconds": None}}, ("stop", "nothing set", "chrony")),
    ({"clock": {"synchronised": True, "offset_seconds": None}}, ("note", "not known", "chrony")),
    (
        {"audit": {"seq": 7, "hash": "", "error": "auditd does not run"}},
        ("note", "auditd does not run", "rebuild"),
    ),
    (
        {"audit": {"seq": 7, "hash": "", "lost": 12}},
        ("note", "lost 12 records", "audit --kind alert"),
    ),
    ({"door": "shut"}, ("stop", "sshd does not run", "journalctl -u ssh")),
    ({"certificate_days": 30}, None),
    ({"certificate_days": 29}, ("note", "ends in 29 days", "doctor --stack gpu says which")),
    ({"certificate_days": -1}, ("stop", "has ended", "doctor --stack gpu says which")),
    ({"web": "shut"}, ("stop", "nginx does not run", "journalctl -u secondlock-web")),
    ({"web": "open"}, None),
    ({"bans": ["192.0.2.9"]}, ("note", "banned 192.0.2.9", "unban 192.0.2.9")),
    ({"bans": ["1; rm -r /"]}, ("note", "banned 1; rm", "unban '1; rm -r /'")),
    ({"error": "the state volume is full: x"}, ("stop", "is full", "/var/lib/secondlock")),
    ({"researchers": {"alice": {**ALICE, "workspace": IMAGE}}}, None),
]


def test_each_fault_of_a_machine_is_one_line_with_its_mend_in_the_stacks_account(
    root: Path, stack: dict[str, Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    profile(root, "a lab")
    for said, told in FAULTS:
        say("alice", {**STATUS, **said})
        problems = alices(capsys, int(told is not None and told[0] == "stop"))["problems"]
        if told is None:
            assert problems == []
            continue
        (problem,) = problems
        severity, what, mend = told
        assert problem["severity"] == severity
        assert what in problem["what"]
        assert mend in problem["mend"]
        if "aws ssm" in problem["mend"]:
            assert f" --region {REGION} --profile 'a lab', sudo " in problem["mend"]
    say("alice", {key: value for key, value in STATUS.items() if key != "door"})  # one of before
    assert alices(capsys)["problems"] == []


def profile(root: Path, name: str, **more: Any) -> None:
    """Have the stack ask by a profile of the person's."""
    path = root / "home" / ".aws" / "config"
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = "aws_access_key_id = testing\naws_secret_access_key = testing\n"
    path.write_text(f"[profile '{name}']\n{keys}")
    configure(root, **{"aws__profile": name, **more})


def test_a_machine_behind_its_request_is_named(
    stack: dict[str, Machine], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "stacks/gpu/alice.yaml"
    path.write_text(path.read_text() + "rebuild: 2\nmachine: {instance_type: g5.xlarge}\n")
    (problem,) = alices(capsys, 1)["problems"]
    assert "rebuild 0, not 2" in problem["what"]
    assert "instance type g4dn.xlarge, not g5.xlarge" in problem["what"]


@pytest.mark.parametrize("missing", ["logs:GetLogEvents", "ec2:DescribeInstances"])
def test_access_denied_names_the_action(
    stack: dict[str, Machine],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    allowed = {"logs:GetLogEvents", "ec2:DescribeInstances"} - {missing}
    with somebody(monkeypatch, sorted(allowed)):
        assert main(["status", "--stack", "gpu"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"AWS refuses {missing}" in said.err
    assert "admin-policy" in said.err
    assert len(said.err.splitlines()) == 1


@contextmanager
def somebody(monkeypatch: pytest.MonkeyPatch, actions: list[str]) -> Iterator[None]:
    """Be a user who may do `actions` alone: moto checks actions when it is told to."""
    iam = boto3.client("iam", region_name=REGION)
    iam.create_user(UserName="carol")
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="carol", PolicyName="some", PolicyDocument=document)
    key = iam.create_access_key(UserName="carol")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    with enable_iam_authentication():
        yield


@pytest.mark.parametrize("command", [["status"], ["image", "pin", "--image", GIVEN]])
def test_without_credentials_region_or_profile(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    nowhere = machine("alice", "i-0").model_copy(update={"region": None})
    monkeypatch.setattr("cli.status.machines", lambda _: {"alice": nowhere})
    cases = {
        "credentials are not at hand": {},
        "pulumi config set aws:region REGION --stack gpu": {"aws__region": ""},
        "no AWS profile lab": {"aws__profile": "lab"},
    }
    for told, values in cases.items():
        configure(root, **values)
        assert main([*command, "--stack", "gpu"]) == 1
        error = capsys.readouterr().err
        assert told in error
        assert len(error.splitlines()) == 1


def test_an_endpoint_that_nobody_listens_at(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    once = Config(retries={"mode": "standard", "max_attempts": 1})  # AWS does not come back here
    monkeypatch.setattr("cli.aws.session._CLIENT", once)
    assert main(["image", "pin", "--stack", "gpu", "--image", GIVEN]) == 1
    assert "127.0.0.1:1 cannot be reached" in capsys.readouterr().err


def doctor(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, list[dict[str, Any]]]:
    """The findings, by check."""
    ended = main(["doctor", "--stack", "gpu", "--json"])
    said = capsys.readouterr()
    assert ended == code, said
    assert said.err == ""
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(said.out)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


@pytest.fixture(autouse=True)
def pulumi_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor looks for it; what it does is tested elsewhere."""
    folder = tmp_path / "bin"
    folder.mkdir()
    stand_in(folder, {})
    program(tmp_path, "pulumi-resource-aws", "exit 1")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_doctor_is_content(
    root: Path, debian: str, quotas: Quotas, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(root, "alice")
    pinned = plugin.sha256(root / "bin" / "pulumi-resource-aws")
    (root / "stacks" / "plugins.sha256").write_text(f"{pinned}  {plugin.name()}\n")
    found = doctor(capsys, 0)
    verdicts = {one["verdict"] for findings in found.values() for one in findings}
    assert verdicts == {"ok"}, found
    assert found["credentials"][0]["what"] == f"account {DEFAULT_ACCOUNT_ID}, region {REGION}"
    assert "4 needed, 0 used by others, 64 allowed" in found["vCPUs"][0]["what"]
    assert "debian-13-amd64-20261101-2292" in found["image"][0]["what"]
    assert main(["doctor", "--stack", "gpu"]) == 0


@pytest.mark.parametrize(("may_fetch", "verdict"), [("", "note"), ("True", "stop")])
def test_doctor_looks_for_pulumis_aws_provider(
    root: Path,
    debian: str,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    may_fetch: str,
    verdict: str,
) -> None:
    ask(root, "alice")
    (root / "bin" / "pulumi-resource-aws").unlink()
    monkeypatch.setenv("PATH", f"{root / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PULUMI_HOME", str(root / "pulumi"))
    monkeypatch.setenv("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", may_fetch)
    older = root / "pulumi" / "plugins" / "resource-aws-v6.0.0" / "pulumi-resource-aws"
    wanted = older.parents[1] / f"resource-aws-v{version('pulumi-aws')}" / older.name
    for place in (older, wanted):
        place.parent.mkdir(parents=True)
    older.touch()
    (found,) = doctor(capsys, int(verdict == "stop"))["provider"]
    assert found["verdict"] == verdict
    assert found["mend"] == f"pulumi plugin install resource aws {version('pulumi-aws')}"
    wanted.touch()
    (found,) = doctor(capsys, 0)["provider"]
    assert found["verdict"] == "note"
    assert found["what"].startswith(f"{wanted}, ")


def test_doctor_holds_the_provider_to_what_is_pinned(
    root: Path,
    debian: str,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ask(root, "alice")
    monkeypatch.setenv("PATH", f"{root / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(root)
    pins = root / "stacks" / "plugins.sha256"
    (found,) = doctor(capsys, 0)["provider"]
    assert found["verdict"] == "note"
    command, _, then = found["mend"].rpartition(", ")
    assert then == "and commit it"
    subprocess.run(["bash", "-c", command], cwd=root, check=True)
    (found,) = doctor(capsys, 0)["provider"]
    assert (found["verdict"], found["mend"]) == ("ok", None)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("platform.machine", lambda: "riscv64")
        assert "is not pinned" in doctor(capsys, 0)["provider"][0]["what"]
    program(root, "pulumi-resource-aws", "exit 2")
    (found,) = doctor(capsys, 1)["provider"]
    assert found["file"] == str(pins)
    assert "which is not pinned" in found["what"]
    (root / "bin" / "pulumi-resource-aws").unlink()
    pins.write_text(f"{'0a' * 32}  pulumi-{plugin.name()}.tar.gz\n")
    (found,) = doctor(capsys, 0)["provider"]
    assert found["mend"].endswith(f" {version('pulumi-aws')} --checksum {'0a' * 32}")
    pins.write_text(f"# ours\n{'0a' * 31}  x\n")
    (found,) = doctor(capsys, 1)["provider"]
    assert (found["file"], found["line"]) == (str(pins), 2)


def test_doctor_names_the_quota_to_ask_for(
    root: Path, aws: Any, debian: str, quotas: Quotas, capsys: pytest.CaptureFixture[str]
) -> None:
    quotas[G_ON_DEMAND], quotas[ADDRESSES] = 4, 1
    ask(root, "alice")
    ask(root, "bob", spot=True)
    ask(root, "carol", instance_type="p3dn.24xlarge", public=False)
    launch(aws, "alice")  # of this stack: it needs its vCPUs, and does not take them from itself
    aws.run_instances(ImageId=debian, InstanceType="g4dn.2xlarge", MinCount=1, MaxCount=1)
    found = doctor(capsys, 1)
    by_name = {one["what"].split(" (")[0]: one for one in found["vCPUs"] + found["addresses"]}
    on_demand = by_name["Running On-Demand G and VT instances"]
    assert "4 needed, 8 used by others, 4 allowed" in on_demand["what"]
    assert on_demand["mend"] == (
        "aws service-quotas request-service-quota-increase --service-code ec2 "
        f"--quota-code {G_ON_DEMAND} --desired-value 12 --region {REGION}"
    )
    assert "4 needed, 0 used by others, 0" in by_name["All G and VT Spot Instance Requests"]["what"]
    assert "96 needed" in by_name["Running On-Demand P instances"]["what"]
    assert "3 needed, 0 used by others, 1" in by_name["EC2-VPC Elastic IPs"]["what"]


def test_doctor_takes_awss_default_where_the_account_never_had_another_quota(
    root: Path,
    debian: str,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del quotas[G_ON_DEMAND]
    answer = json.dumps({"Quota": {"QuotaCode": G_ON_DEMAND, "Value": 0.0}})
    monkeypatch.setattr(
        ServiceQuotasResponse, "get_aws_default_service_quota", lambda _: answer, raising=False
    )
    ask(root, "alice")
    (quota,) = doctor(capsys, 1)["vCPUs"]
    assert "4 needed, 0 used by others, 0 allowed" in quota["what"]


def test_doctor_counts_roles_in_iams_own_region(
    root: Path,
    debian: str,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cli.aws.doctor._SHARED_ROLES", 1000)
    ask(root, "alice")
    roles, profiles = doctor(capsys, 1)["roles"]
    assert "L-FE177D64" in roles["mend"]
    assert roles["mend"].endswith("--desired-value 1001 --region us-east-1")
    assert "L-6E65F664" in profiles["mend"]


def test_doctor_on_types_zones_and_images(
    root: Path, aws: Any, debian: str, quotas: Quotas, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(root, "alice", instance_type="p3dn.24xlarge")
    found = doctor(capsys, 1)
    machine, bake = (one["what"] for one in found["types"])
    nowhere = f"is not offered in {REGION}a, {REGION}b: alice"
    assert machine == f"p3dn.24xlarge (96 vCPUs) {nowhere}"
    assert bake == f"g4dn.xlarge or g5.xlarge for the bake in {REGION}a"
    strange = make_image(aws, "debian-13-amd64-1", created="2026-11-20", owner="111122223333")
    configure(root, secondlock__baseImage=strange)
    (image,) = doctor(capsys, 1)["image"]
    assert "account 111122223333's, not Debian's" in image["what"]
    assert image["verdict"] == "note"  # `up` takes it
    configure(root, secondlock__baseImage="ami-0123456789abcdef0")
    gone = doctor(capsys, 1)["image"][0]
    assert "or no longer" in gone["what"]
    assert gone["mend"] == "./secondlock image pin --stack gpu"
    configure(root, secondlock__zones=f"{REGION}a,{REGION}f")
    assert f"has no zone {REGION}f" in doctor(capsys, 1)["zones"][0]["what"]


def test_doctor_in_china_does_not_judge_the_owner(
    root: Path, debian: str, quotas: Quotas, capsys: pytest.CaptureFixture[str]
) -> None:
    china = boto3.client("ec2", region_name="cn-north-1")
    ami = make_image(china, "debian-13", created="2026-11-01", region="cn-north-1")
    configure(
        root,
        aws__region="cn-north-1",
        secondlock__zones="cn-north-1a",
        secondlock__baseImage=ami,
    )
    ask(root, "alice")
    assert main(["doctor", "--stack", "gpu", "--json"]) in {0, 1}
    findings = json.loads(capsys.readouterr().out)["findings"]
    (image,) = [one for one in findings if one["check"] == "image"]
    assert image["verdict"] == "note"
    assert "not known in aws-cn" in image["what"]
    assert main(["image", "pin", "--stack", "gpu", "--image", GIVEN]) == 1
    assert "--ami AMI-ID" in capsys.readouterr().err


def test_doctor_goes_on_where_something_is_missing(
    root: Path,
    debian: str,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(root, secondlock__onDestroy="")
    ask(root, "alice")
    with somebody(monkeypatch, ["ec2:Describe*", "sts:*", "iam:*", "ssm:*", "kms:*"]):
        found = doctor(capsys, 1)
    told = [one["what"] for one in found["settings"]]
    assert any("onDestroy" in one for one in told)
    assert found["vCPUs"][0]["verdict"] == "note"
    assert "AWS refuses servicequotas:GetServiceQuota" in found["vCPUs"][0]["what"]
    assert "AWS refuses logs:DescribeLogGroups" in found["services"][0]["what"]
    assert found["roles"][0]["verdict"] == "ok"


def test_doctor_without_credentials_still_reads_the_requests(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(root, "alice", instance_type="p5.48xlarge")
    found = doctor(capsys, 1)
    assert "Hopper" in found["requests"][0]["what"]
    assert "credentials are not at hand" in found["credentials"][0]["what"]


def test_pin_takes_the_newest_debian_13(
    root: Path, aws: Any, debian: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    written: dict[str, str] = {}
    monkeypatch.setattr("cli.aws.images.set_config", lambda _, values: written.update(values))
    make_image(aws, "debian-13-amd64-2", created="2026-12-01", owner="111122223333")
    configure(root, secondlock__baseImage="ami-0123456789abcdef0")
    assert main(["image", "pin", "--stack", "gpu", "--image", GIVEN, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["base_image"]["id"] == debian
    assert said["base_image"]["before"] == "ami-0123456789abcdef0"
    assert written == {"secondlock:baseImage": debian, "secondlock:tensorflowImage": GIVEN}
    written.clear()
    configure(root, secondlock__baseImage=debian, secondlock__tensorflowImage=GIVEN)
    assert main(["image", "pin", "--stack", "gpu", "--image", GIVEN]) == 0
    assert "(as before)" in capsys.readouterr().out
    assert written == {}
    assert main(["image", "show", "--stack", "gpu"]) == 0
    assert debian in capsys.readouterr().out


def test_pin_and_doctor_say_the_same_of_an_image_of_others(
    root: Path,
    aws: Any,
    debian: str,
    quotas: Quotas,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cli.aws.images.set_config", lambda *_: None)
    ask(root, "alice")
    for name, owner, told in (
        ("debian-13-amd64-1", "111122223333", "account 111122223333's, not Debian's"),
        ("debian-12-amd64-1", images.DEBIAN_OWNER, "not Debian 13 for amd64"),
    ):
        strange = make_image(aws, name, created="2026-11-20", owner=owner)
        words = ["image", "pin", "--stack", "gpu", "--image", GIVEN, "--ami", strange]
        assert main(words) == 0
        assert told in capsys.readouterr().out
        configure(root, secondlock__baseImage=strange)
        (image,) = doctor(capsys, 0)["image"]
        assert told in image["what"]
        assert "image pin" in image["mend"]


def test_a_private_machine_is_not_shown_as_a_port(
    stack: dict[str, Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    instance = stack["alice"].instance_id or ""
    stack["alice"] = machine("alice", instance, public=False)
    assert alices(capsys)["address"] is None
    assert main(["status", "--stack", "gpu"]) == 0
    shown = capsys.readouterr().out
    assert f"{instance}:22" not in shown
    assert "Session Manager" in shown


@pytest.mark.parametrize("status", [200, 403, 511])
def test_a_service_that_answers_with_a_web_page_is_not_quoted(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    ask(root, "alice")
    with web_page(status) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for words in (["doctor"], ["image", "pin", "--image", GIVEN]):
            assert main([*words, "--stack", "gpu"]) == 1
            told = capsys.readouterr()
            both = told.out + told.err
            assert "<" not in both
            assert "hotel" not in both
            assert "a fault of secondlock" not in both
            assert "with a web page" in both
            assert "HTTPS_PROXY" in both


def test_pin_where_there_is_none(root: Path, aws: Any, capsys: Any) -> None:
    assert main(["image", "pin", "--stack", "gpu", "--image", GIVEN]) == 1
    assert "no AMI debian-13-amd64-*" in capsys.readouterr().err
    configure(root, secondlock__target="local")
    assert main(["image", "pin", "--stack", "gpu", "--image", GIVEN]) == 1
    assert "pins no AMI" in capsys.readouterr().err


def test_ssh_reaches_public_and_private_machines(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = {
        "alice": machine("alice", "i-0aaaaaaaaaaaaaaaa"),
        "bob": machine("bob", "i-0bbbbbbbbbbbbbbbb", public=False),
    }
    configure(root, aws__profile="a lab's%own")
    monkeypatch.setattr("cli.ssh_config.machines", lambda _: machines)
    assert main(["ssh-config", "--stack", "gpu"]) == 0
    config = root / ".secondlock/gpu/ssh_config"
    alice, bob = (read_by_ssh(config, f"{name}.gpu") for name in ("alice", "bob"))
    assert alice["hostname"] == "192.0.2.7"
    assert "proxycommand" not in alice
    assert bob["hostname"] == "i-0bbbbbbbbbbbbbbbb"
    assert bob["hostkeyalias"] == "bob.gpu.secondlock"
    assert read_by_ssh(config, "bob.gpu.jupyter")["proxycommand"] == bob["proxycommand"]
    # What ssh really runs:
    told = tmp_path / "told"
    aws = tmp_path / "bin" / "aws"
    aws.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\n')
    aws.chmod(0o755)
    subprocess.run(["ssh", "-F", config, "bob.gpu", "true"], capture_output=True, timeout=20)
    assert told.read_text().splitlines() == [
        *("ssm", "start-session", "--target", "i-0bbbbbbbbbbbbbbbb"),
        *("--document-name", "AWS-StartSSHSession", "--parameters", "portNumber=22"),
        *("--region", REGION, "--profile", "a lab's%own"),
    ]


def test_a_request_for_aws_is_scaffolded_and_checked(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["request", "alice", "--stack", "gpu", "--factors", "password+totp"]
    words += ["--from", "192.0.2.0/24"]
    assert main(words) == 0
    path = root / "stacks/gpu/alice.yaml"
    text = path.read_text()
    assert "# machine: {instance_type: g4dn.xlarge, root_disk_gib: 20" in text
    assert "cpus" not in text
    path.unlink()
    assert main([*words, "--instance-type", "p5.48xlarge"]) == 1
    assert "Hopper" in capsys.readouterr().err
    assert main([*words, "--instance-type", "g5.xlarge", "--private", "--spot"]) == 0
    asked = yaml.safe_load(path.read_text())["machine"]
    assert asked == {"instance_type": "g5.xlarge", "spot": True, "public": False}
    local = ["request", "bob", "--stack", "other", "--factors", "password+totp"]
    assert main([*local, "--private"]) == 2


def keys(root: Path) -> tuple[str, str]:
    """Who asks, as the command line does."""
    credentials = session(Stack("gpu", root)).get_credentials()
    assert credentials is not None
    return (credentials.access_key, credentials.secret_key)


def test_credentials_are_those_of_the_stack(
    root: Path, monkeypatch: pytest.MonkeyPatch, aws: Any
) -> None:
    role = {"roleArn": "arn:aws:iam::123456789012:role/admin", "duration": "1h"}
    configure(root, aws__accessKey="AKIAOFTHESTACK", aws__secretKey={"secure": "v1:abc"})
    program = root / "bin" / "pulumi"
    program.parent.mkdir(exist_ok=True)
    program.unlink(missing_ok=True)
    program.write_text('#!/bin/sh\necho \'{"aws:secretKey": {"value": "s", "secret": true}}\'\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert keys(root) == ("AKIAOFTHESTACK", "s")
    configure(root, aws__assumeRoles=[role])
    assert keys(root)[0].startswith("ASIA")
    configure(root, aws__assumeRoles=[{**role, "duration": "soon"}])
    with pytest.raises(ProblemsError, match="'soon' is not a duration"):
        session(Stack("gpu", root))


def test_endpoints_and_files_are_those_of_the_stack(
    root: Path, monkeypatch: pytest.MonkeyPatch, aws: Any
) -> None:
    file = root / "credentials"
    file.write_text("[default]\naws_access_key_id = AKIAINAFILE\naws_secret_access_key = s\n")
    places = [{"ec2": "http://here", "cloudwatchlogs": "http://there"}]
    configure(root, aws__endpoints=places, aws__sharedCredentialsFiles=[str(file)])
    made = session(Stack("gpu", root))
    assert made.client("ec2").meta.endpoint_url == "http://here"
    assert made.client("logs").meta.endpoint_url == "http://there"
    assert made.client("kms").meta.endpoint_url.startswith("https://kms.")
    with monkeypatch.context() as without:
        without.delenv("AWS_ACCESS_KEY_ID")  # moto's own
        without.delenv("AWS_SECRET_ACCESS_KEY")
        assert keys(root)[0] == "AKIAINAFILE"
