"""`secondlock image`: what new machines on aws are made from, pinned in the stack's settings."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.aws import registry
from cli.engine import set_config
from cli.options import JsonOption, StackOption, echo_json
from cli.project import Stack, choose_stack, command, pulumi, shown
from infra.model.images import check_image
from infra.model.problems import Problem, ProblemsError, RefusedError
from infra.model.text import visible

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_ec2.type_defs import ImageTypeDef

DEBIAN_OWNER = "136693071363"
"""Debian's own account in the partition aws (wiki.debian.org/Cloud/AmazonEC2Image)."""

DEBIAN_NAME = "debian-13-amd64-*"
DEFAULT_IMAGE = "tensorflow/tensorflow:2.9.3-gpu"

_BASE, _TENSORFLOW = "secondlock:baseImage", "secondlock:tensorflowImage"
_ID = "image-id"

app = typer.Typer(
    help="Show or renew what new machines on aws are made from: a Debian AMI and a TensorFlow "
    "image, both pinned in the stack's configuration.",
    no_args_is_help=True,
)

ImageOption = Annotated[
    str,
    typer.Option(
        "--image",
        metavar="NAME:TAG",
        help="The TensorFlow image. NAME@sha256:DIGEST is taken as it is, without its registry.",
    ),
]
AmiOption = Annotated[
    str | None,
    typer.Option(
        "--ami",
        metavar="AMI-ID",
        help="This AMI instead of the newest official Debian 13.",
        show_default=False,
    ),
]


@app.command("show")
def show(stack: StackOption = None, as_json: JsonOption = False) -> None:
    """Show what is pinned. Asks neither AWS nor a registry."""
    chosen = choose_stack(stack)
    pinned = {key: chosen.value(key) for key in (_BASE, _TENSORFLOW)}
    if as_json:
        echo_json(
            {
                "stack": chosen.name,
                "base_image": pinned[_BASE],
                "tensorflow_image": pinned[_TENSORFLOW],
            }
        )
        return
    for key, value in pinned.items():
        typer.echo(f"{key}: {value or 'not pinned'}")
    if not all(pinned.values()):
        typer.echo(f"To pin them: {command('image', 'pin', stack=chosen)}")


@app.command("pin")
def pin(
    stack: StackOption = None,
    image: ImageOption = DEFAULT_IMAGE,
    ami: AmiOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pin the newest Debian 13 AMI and the TensorFlow image's digest in the stack's settings.

    Machines that are there keep theirs until their request says `rebuild`; new ones get these.
    """
    chosen = choose_stack(stack)
    if chosen.target() != "aws":
        what = f"stack {chosen.name} is on target {chosen.target()}, which pins no AMI"
        mend = f"pulumi config set secondlock:target aws --stack {chosen.name}"
        raise ProblemsError([Problem(None, None, what, mend)])
    before = {key: chosen.value(key) for key in (_BASE, _TENSORFLOW)}
    tensorflow = _tensorflow(image)
    base = _base(chosen, ami)
    after = {_BASE: base["id"], _TENSORFLOW: tensorflow["pinned"]}
    changed = {key: value for key, value in after.items() if value != before[key]}
    if changed:
        set_config(chosen, changed)
    if as_json:
        echo_json(
            {
                "stack": chosen.name,
                "base_image": {**base, "before": before[_BASE]},
                "tensorflow_image": {**tensorflow, "before": before[_TENSORFLOW]},
                "changed": sorted(changed),
            }
        )
        return
    typer.echo(f"Debian: {_told(base['id'], before[_BASE])}")
    told = f"{base['name']}, of {base['created']:.10}: {base['doubt'] or 'by Debian'}"
    typer.echo(f"  {visible(told)}")
    typer.echo(f"TensorFlow: {_told(tensorflow['pinned'], before[_TENSORFLOW])}")
    typer.echo(f"  {tensorflow['told']}")
    if changed:
        typer.echo(f"Wrote {shown(chosen.config)}. Next: {pulumi('preview', stack=chosen)}")


def find_image(stack: Stack, here: boto3.Session, ami: str | None = None) -> ImageTypeDef | None:
    """The AMI `ami`, else the newest official one of Debian 13; None if there is none.

    In aws-cn and GovCloud Debian's owner is not known to this program: there an AMI has to be
    named. Raises ProblemsError.
    """
    from cli.aws.session import client_config, explained

    ec2 = here.client("ec2", config=client_config())
    with explained(stack, "ec2"):
        if ami is not None:
            # By a filter: an id that is not there is then no error but an empty answer.
            found = ec2.describe_images(
                Filters=[{"Name": _ID, "Values": [ami]}], IncludeDeprecated=True
            )["Images"]
            return found[0] if found else None
        if not official(here.get_partition_for_region(here.region_name)):
            what = f"which account Debian publishes from in {here.region_name} is not known here"
            mend = "find it on wiki.debian.org/Cloud/AmazonEC2Image and name an image: --ami AMI-ID"
            raise ProblemsError([Problem(None, None, what, mend)])
        images = ec2.describe_images(
            Owners=[DEBIAN_OWNER],
            Filters=[
                {"Name": "name", "Values": [DEBIAN_NAME]},
                {"Name": "state", "Values": ["available"]},
                {"Name": "architecture", "Values": ["x86_64"]},
            ],
        )["Images"]
    return max(images, key=lambda one: one.get("CreationDate", ""), default=None)


def official(partition: str) -> bool:
    """Whether Debian's owner id holds in an AWS partition."""
    return partition == "aws"


def doubt(image: ImageTypeDef, partition: str) -> str | None:
    """Why an image may be none of Debian's, as `pin` and `doctor` say it; None where it is one.

    It is no fault: who names an image by --ami may have made it.
    """
    if not official(partition):
        return f"whether it is Debian's own is not known in {partition}"
    owner = image.get("OwnerId", "unknown")
    if owner != DEBIAN_OWNER:
        return f"it is account {owner}'s, not Debian's"
    if not image.get("Name", "").startswith(DEBIAN_NAME.rstrip("*")):
        return "it is not Debian 13 for amd64"
    return None


def _base(stack: Stack, ami: str | None) -> dict[str, Any]:
    from cli.aws.session import session  # boto3 takes a while to load

    here = session(stack)
    image = find_image(stack, here, ami)
    if image is None:
        wanted = ami or f"{DEBIAN_NAME} by {DEBIAN_OWNER}"
        what = f"there is no AMI {wanted} in this region"
        raise ProblemsError([Problem(None, None, what, "--ami AMI-ID, or another aws:region")])
    if image.get("Architecture") != "x86_64" or image.get("State") != "available":
        what = f"{image.get('ImageId')} is {image.get('Architecture')}, {image.get('State')}"
        mend = "an AMI for x86_64 that is available"
        raise ProblemsError([Problem(None, None, what, mend)])
    return {
        "id": image["ImageId"],
        "name": image.get("Name", ""),
        "created": image.get("CreationDate", ""),
        "owner": image.get("OwnerId", "unknown"),
        "doubt": doubt(image, here.get_partition_for_region(here.region_name)),
    }


def _tensorflow(image: str) -> dict[str, Any]:
    try:
        if "@" in image:
            pinned = check_image(image)
            return {"pinned": pinned, "tag": None, "told": "as given; its registry was not asked"}
        found = registry.look_up(image)
        check_image(found.pinned)
    except RefusedError as refused:
        raise ProblemsError([refused.problem]) from None
    size = found.compressed_bytes
    told = f"{found.name}:{found.tag} as it is on {dt.datetime.now(dt.timezone.utc):%Y-%m-%d}"
    if size is not None:
        told += f", {size / 1e9:.1f} GB to download"
    return {"pinned": found.pinned, "tag": found.tag, "bytes": size, "told": told}


def _told(now: str, before: str | None) -> str:
    if now == before:
        return f"{now} (as before)"
    return f"{now} (before: {before or 'nothing'})"
