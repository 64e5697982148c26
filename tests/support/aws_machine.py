"""A machine as EC2 has it, booted here: its metadata service, its disk, AWS as moto plays it."""

from __future__ import annotations

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

from cloudinit.boot import MachineValues
from cloudinit.bundle import bundle
from infra.roster import to_json
from tests.support.cloud import REGION, Cloud
from tests.support.machine import NAME, STACK, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.people import Person

PARAMETER = f"/secondlock/{STACK}/roster/{NAME}"
GROUP = f"/secondlock/{STACK}"
RECORD = f"{GROUP}/audit"
GATEWAY = "10.0.2.2"  # QEMU's user network: this computer's loopback, and all that comes from it
DISK = "nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"
DIGEST = bundle("aws").digest
# Once more, whatever the unit is about: a run that its timer began would be joined, and knows
# nothing of what a test has just changed.
ANEW = """\
unit=secondlock-{0}.service
while [ "$(systemctl is-active $unit)" = activating ]; do sleep 0.2; done
rm -f /run/secondlock/{0}.patience
systemctl start $unit
"""
METADATA = """
import http.server, json, pathlib
ROLE = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "testing",
        "SecretAccessKey": "testing", "Token": "testing", "LastUpdated": "2026-01-01T00:00:00Z",
        "Expiration": "2099-01-01T00:00:00Z"}
ITEMS = {"iam/security-credentials/": "role", "iam/security-credentials/role": json.dumps(ROLE),
         "instance-life-cycle": "spot"}
NOTICE = pathlib.Path("/run/notice")

class Handler(http.server.BaseHTTPRequestHandler):
    def give(self, text):
        self.send_response(200 if text else 404)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def do_PUT(self):
        self.give("token" if self.path == "/latest/api/token" else None)

    def do_GET(self):
        item = self.path.removeprefix("/latest/meta-data/")
        if self.headers["X-aws-ec2-metadata-token"] != "token":
            item = None
        if item == "spot/instance-action" and NOTICE.exists():
            return self.give(NOTICE.read_text())
        self.give(ITEMS.get(item))

http.server.ThreadingHTTPServer(("169.254.169.254", 80), Handler).serve_forever()
"""
"""EC2's metadata service, version 2, for the guest itself."""
# What nvidia-ctk would say of a GPU; this device can be read all the same.
GPU = {
    "cdiVersion": "0.6.0",
    "kind": "nvidia.com/gpu",
    "devices": [
        {
            "name": "all",
            "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/dev/zero"}]},
        }
    ],
}
BAKED = f"""\
mkdir -p /etc/secondlock /run/cdi
touch /etc/secondlock/installed
cat >/run/cdi/nvidia.yaml <<'END'
{json.dumps(GPU)}
END
"""
"""What a baked image has, and what its driver says of a GPU."""
EC2 = f"""\
cat >/etc/udev/rules.d/99-test.rules <<'END'
KERNEL=="vd[a-z]", ENV{{ID_SERIAL}}=="sl-home", SYMLINK+="disk/by-id/{DISK}"
END
udevadm control --reload
udevadm trigger --settle --subsystem-match=block
cat >/root/metadata.py <<'END'
{METADATA}
END
ip address add 169.254.169.254/32 dev lo
systemd-run --quiet --no-block --property=DefaultDependencies=no --unit=test-metadata \\
    /usr/bin/python3 /root/metadata.py
"""
"""What EC2 gives a machine: the role's metadata, the data volume."""
DENIED = {"__type": "AccessDeniedException", "message": "User is not authorized"}
CONNECT = """
import socket
try:
    socket.create_connection(("169.254.169.254", 80), 20)
except ConnectionRefusedError:
    print("out")
else:
    print("in")
"""


class AwsMachine(Machine):
    """A machine of the target aws."""

    allowed_from = (f"{GATEWAY}/32",)
    before = BAKED + EC2
    """Runs before the stub."""

    def __init__(self, place: Path, cloud: Cloud) -> None:
        super().__init__(place)
        self.cloud = cloud
        self.ssm, self.logs = cloud.client("ssm"), cloud.client("logs")
        key = cloud.client("kms").create_key()["KeyMetadata"]["KeyId"]
        self._encryption = {"Type": "SecureString", "KeyId": key}
        where = {"LocationConstraint": REGION}
        cloud.client("s3").create_bucket(Bucket="bundles", CreateBucketConfiguration=where)
        cloud.client("s3").put_object(
            Bucket="bundles", Key=f"bundle/{DIGEST}", Body=bundle("aws").data
        )

    @property
    def values(self) -> MachineValues:
        """As the program makes them, and moto's address."""
        return MachineValues(
            STACK, NAME, "aws", region=REGION, parameter=PARAMETER, log_group=GROUP,
            bundles=guest_url(f"{self.cloud.url}/bundles/bundle"),
            endpoint=guest_url(self.cloud.url),
        )  # fmt: skip

    def user_data(self) -> bytes:
        """With a part before ours that plays EC2."""
        text = gzip.decompress(super().user_data()).decode()
        first = boothook(self.before) + "--secondlock\n"
        return gzip.compress(text.replace("--secondlock\n", first, 1).encode())

    def put(self, value: str | None = None) -> int:
        """Write the parameter as `pulumi up` does; its version."""
        value = to_json(self.envelope()["roster"]) if value is None else value
        answer = self.ssm.put_parameter(
            Name=PARAMETER, Value=value, Overwrite=True, **self._encryption
        )
        return int(answer["Version"])

    def put_bundle(self, digest: str, **more: bool) -> None:
        """Write a roster that names this bundle."""
        self.put(to_json({**self.envelope()["roster"], "bundle": digest, **more}))

    def apply(self) -> list[str]:
        """Bring the roster to the machine by AWS."""
        version = self.put()
        error = self.fetch()
        assert self.serial == version, error
        return []

    def fetch(self) -> str | None:
        """Look for a roster now, whatever went wrong before; the fault that its status names."""
        self.run(ANEW.format("fetch"))
        code, error, _ = self.run("cat /run/secondlock/error")
        return error if code == 0 else None

    @property
    def serial(self) -> int:
        """That of the roster which it applied."""
        return int(json.loads(self.succeed("cat /var/lib/secondlock/state.json"))["serial"])

    @contextmanager
    def endpoint(self, url: str) -> Iterator[None]:
        """AWS somewhere else for a while."""
        self._look_at(url)
        try:
            yield
        finally:
            self._look_at(self.cloud.url)

    def _look_at(self, url: str) -> None:
        known = "/etc/secondlock/machine.json"
        self.succeed(f'sed -i \'s,"endpoint": "[^"]*","endpoint": "{guest_url(url)}",\' {known}')

    def everyone(self) -> list[Person]:
        """Those in the roster as it would be delivered now."""
        return [self._person(request) for request in self.lab.requests.values()]

    def lines(self, stream: str) -> list[str]:
        """The messages of one of the machine's log streams, shipped until now."""
        return self._shipped(GROUP, f"{NAME}/{stream}")

    def record(self) -> list[dict[str, Any]]:
        """Who did what, shipped until now."""
        return [json.loads(line) for line in self._shipped(RECORD, NAME)]

    def _shipped(self, group: str, stream: str) -> list[str]:
        self.succeed(ANEW.format("ship"))
        events = self.logs.get_log_events(
            logGroupName=group, logStreamName=stream, startFromHead=True
        )["events"]
        return [str(event["message"]) for event in events]


@contextmanager
def answering(status: int, answer: dict[str, Any]) -> Iterator[str]:
    """An endpoint that gives everyone who asks for a roster this answer; its URL.

    Whatever else is asked of AWS is refused: log lines that it took would be lost.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked = self.headers["X-Amz-Target"] == "AmazonSSM.GetParameter"
            text = json.dumps(answer if asked else DENIED).encode()
            self.send_response(status if asked else 400)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's)
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def boothook(script: str) -> str:
    """A part of user-data that cloud-init runs as early as the stub."""
    head = "Content-Type: text/cloud-boothook\n\n#cloud-boothook\n#!/bin/sh\nset -eu\n"
    return f"--secondlock\n{head}{script}\n"


def guest_url(url: str) -> str:
    """An address of this computer's loopback as the guest sees it."""
    return url.replace("127.0.0.1", GATEWAY)
