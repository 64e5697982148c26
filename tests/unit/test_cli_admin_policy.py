"""What the admin's policies allow, by our own evaluator, and what they do not."""

from __future__ import annotations

import json
from pathlib import Path

import botocore.session
import pytest

from cli.__main__ import main
from cli.aws.admin_policy import LONGEST, documents
from tests.support.admin_requests import ACCOUNT, ALLOWED, DENIED, OURS, REGION, ec2
from tests.support.iam import Request, allows

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize("request_", ALLOWED, ids=lambda one: one.action)
def test_what_a_stack_needs_is_allowed(request_: Request) -> None:
    assert allows(list(documents().values()), request_)


@pytest.mark.parametrize("request_", DENIED, ids=lambda one: one.action)
def test_nothing_else_is(request_: Request) -> None:
    assert not allows(list(documents().values()), request_)


def test_another_region_or_account_is_out_of_reach() -> None:
    narrow = list(documents("aws", REGION, ACCOUNT).values())
    there = f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-1"
    assert allows(narrow, Request("ec2:TerminateInstances", ec2("instance/i-1"), OURS))
    assert not allows(narrow, Request("ec2:TerminateInstances", there, OURS))


def _regions() -> list[tuple[str, str]]:
    session = botocore.session.get_session()
    return [
        (partition, region)
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition_name=partition)
    ]


def test_iam_takes_them_in_every_region_of_every_partition() -> None:
    lengths = {
        (partition, region, part): len(json.dumps(document, separators=(",", ":")))
        for partition, region in [*_regions(), ("aws-us-gov", "*")]
        for part, document in documents(partition, region, ACCOUNT).items()
    }
    assert {place: length for place, length in lengths.items() if length > LONGEST} == {}
    assert {partition for partition, _, _ in lengths} >= {"aws", "aws-cn", "aws-us-gov"}


def test_docs_have_these_policies(capsys: pytest.CaptureFixture[str]) -> None:
    for part in documents():
        assert main(["admin-policy", part]) == 0
        mend = f"./secondlock admin-policy {part} > docs/reference/aws-admin-policy-{part}.json"
        text = (REFERENCE / f"aws-admin-policy-{part}.json").read_text()
        assert capsys.readouterr().out == text, mend


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--partition", "nonsense"),
        ("--region", 'a"b'),
        ("--account", "12"),
        ("--account", "1" * 13),
    ],
)
def test_no_policy_for_a_place_that_is_none(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert main(["admin-policy", "machines", option, value]) == 2
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert f"Invalid value for {option}: expected " in said.err


def test_every_region_that_botocore_knows_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    for partition, region in _regions():
        words = ["--partition", partition, "--region", region, "--account", ACCOUNT]
        assert main(["admin-policy", "machines", *words]) == 0
    capsys.readouterr()


def test_no_arn_is_of_another_partition() -> None:
    for document in documents("aws-cn", "cn-north-1", ACCOUNT).values():
        for statement in document["Statement"]:
            assert all(arn == "*" or arn.startswith("arn:aws-cn:") for arn in statement["Resource"])
