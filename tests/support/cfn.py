"""AWS's own schemas, by cfn-lint: they say what CloudFormation would refuse of a resource.

Pulumi's provider and CloudFormation call the same APIs, and their names differ in little.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REGION = "eu-central-1"


def faults(resources: dict[str, dict[str, Any]], place: Path) -> str:
    """What cfn-lint says of `resources` (logical id -> Type and Properties); empty if nothing."""
    template = place / "template.json"
    template.write_text(
        json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
    )
    done = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", "--regions", REGION, "--", template],
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def policy(document: Any) -> dict[str, Any]:
    """A managed policy."""
    return {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}


def image_builder(kind: str, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What the program registered of Image Builder's `kind`, as CloudFormation writes it."""
    properties = _pascal(inputs)
    if kind == "ImageRecipe":
        properties["AdditionalInstanceConfiguration"] = {
            "SystemsManagerAgent": properties.pop("SystemsManagerAgent"),
            "UserDataOverride": properties.pop("UserDataBase64"),
        }
        for device in properties["BlockDeviceMappings"]:
            for key in ("Encrypted", "DeleteOnTermination"):
                device["Ebs"][key] = device["Ebs"][key] == "true"
    if kind != "Image":
        properties["Name"] = name
    return {"Type": f"AWS::ImageBuilder::{kind}", "Properties": properties}


def _pascal(value: Any) -> Any:
    if isinstance(value, list):
        return [_pascal(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key[0].upper() + key[1:]: each if key.lower().endswith("tags") else _pascal(each)
        for key, each in value.items()
    }
