"""AWS without AWS: moto's server on loopback, and the program against it with the real provider."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import yaml

from tests.support.project import STACK, Project, wait_until

REGION = "eu-west-1"
ZONES = ("eu-west-1a", "eu-west-1b")
TENSORFLOW = "example.org/tensorflow@sha256:" + "0a" * 32
NOBODY = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
"""The environment of who has credentials in the stack's configuration alone."""

_KEYS = {"access": "testing", "secret": "testing"}
_SERVER = ("-H", "127.0.0.1", "-p", "0")
# Everything that the program talks to; the provider takes an endpoint for each.
_SERVICES = (
    "ec2",
    "iam",
    "kms",
    "cloudwatch",
    "cloudwatchlogs",
    "sns",
    "ssm",
    "sts",
    "s3",
    "s3control",
)


def provider_missing() -> str | None:
    """Why the tests that need the AWS provider's plugin cannot run here; None if they can."""
    if shutil.which("pulumi", path=f"{Path(sys.executable).parent}") is None:
        return "no pulumi in the virtual environment: make setup"
    if shutil.which("pulumi-resource-aws"):
        return None
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    if any(home.glob("plugins/resource-aws-v7*/pulumi-resource-aws")):
        return None
    return "no AWS provider for Pulumi: pulumi plugin install resource aws"


class Cloud:
    """A region of nobody's, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "moto.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("moto_server.py"), *_SERVER],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: self._address() or self._process.poll(), "moto's server is up")
        self.url = self._address()
        assert self.url, self._log.read_text()

    def _address(self) -> str:
        found = re.search(r"Running on (http://127\.0\.0\.1:[0-9]+)", self._log.read_text())
        return found[1] if found else ""

    def client(self, service: str) -> Any:
        """A boto3 client of `service`."""
        return boto3.client(  # type: ignore[call-overload]
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=_KEYS["access"],
            aws_secret_access_key=_KEYS["secret"],
        )

    def image(self, number: int = 0) -> str:
        """The id of an AMI that is there."""
        images = self.client("ec2").describe_images(
            Filters=[{"Name": "architecture", "Values": ["x86_64"]}]
        )["Images"]
        return sorted(str(image["ImageId"]) for image in images)[number]

    def end(self) -> None:
        """The region is gone."""
        self._process.kill()
        self._process.wait()


class AwsProject(Project):
    """The program on the target aws, in `cloud`."""

    def __init__(self, place: Path, cloud: Cloud, **settings: str) -> None:
        super().__init__(
            place,
            **NOBODY,
            # S3 Control's host begins with the account's number, which nothing resolves here.
            http_proxy=cloud.url,
            no_proxy="127.0.0.1,localhost",
        )
        self.cloud = cloud
        self.configure(
            **{
                "target": "aws",
                "zones": ",".join(ZONES),
                "onDestroy": "delete",
                "baseImage": cloud.image(),
                "tensorflowImage": TENSORFLOW,
                "bake": "false",  # moto knows no Image Builder
                "alarms": "false",  # nor the protocol that the provider makes alarms by
                **settings,
            }
        )

    def configure(self, **settings: str) -> None:
        """Set `secondlock:` settings; those of the provider stand beside them."""
        path = self.place / "stacks" / f"Pulumi.{STACK}.yaml"
        document = yaml.safe_load(path.read_text())
        document["config"] |= {
            "aws:region": REGION,
            "aws:accessKey": _KEYS["access"],
            "aws:secretKey": _KEYS["secret"],
            "aws:skipCredentialsValidation": "true",
            "aws:skipMetadataApiCheck": "true",
            "aws:s3UsePathStyle": "true",
            "aws:endpoints": [dict.fromkeys(_SERVICES, self.cloud.url)],
            **{f"secondlock:{key}": value for key, value in settings.items()},
        }
        path.write_text(yaml.safe_dump(document))

    def request(self, researcher: str, **values: Any) -> dict[str, Any]:
        """Write a good request for a machine in EC2."""
        if not (self.requests / f"{researcher}.yaml").exists():
            values = {"allowed_from": ["198.51.100.0/24"], "machine": {}} | values
        return super().request(researcher, **values)
