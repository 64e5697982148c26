"""moto's server, with three things that it lacks.

It keeps the tags with which a bucket is made. It takes a bucket's policy as if it had no
conditions: ours refuses what does not come by TLS, and here nothing does, so the policy is left out
(tests/unit/test_policies.py has a look at it). And it says of a volume whether it goes with the
instance that it is attached to.
"""

from __future__ import annotations

import sys
from typing import Any

import xmltodict
from moto.ec2.models.elastic_block_store import VolumeAttachment
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response
from moto.server import main

_put_bucket = S3Response._bucket_response_put


def _no_opinion(*_: object) -> PermissionResult:
    return PermissionResult.NEUTRAL


def _goes_with_its_instance(attachment: Any) -> bool:
    devices = attachment.instance.block_device_mapping
    return bool(devices[attachment.device].delete_on_termination)


def _keep_tags(self: Any, request: Any, name: str, query: dict[str, Any]) -> Any:
    answer = _put_bucket(self, request, name, query)
    if self.body and not query:
        asked = xmltodict.parse(self.body, force_list=("Tag",))["CreateBucketConfiguration"]
        if tags := asked.get("Tags"):
            self.backend.tagger.tag_resource(self.backend.get_bucket(name).arn, tags["Tag"])
    return answer


if __name__ == "__main__":
    setattr(FakeBucket, "get_permission", _no_opinion)  # noqa: B010 (its type is another)
    setattr(S3Response, "_bucket_response_put", _keep_tags)  # noqa: B010
    setattr(VolumeAttachment, "delete_on_termination", property(_goes_with_its_instance))  # noqa: B010
    main(sys.argv[1:])
