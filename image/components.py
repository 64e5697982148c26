"""What EC2 Image Builder does to bake a machine's image: the install script, and its proof."""

from __future__ import annotations

import re

import yaml

from cloudinit.bundle import templates
from cloudinit.install import render_gateway, render_install, render_workspaces

LIMIT = 16_000
"""Characters of a component document (Image Builder API reference, CreateComponent)."""

# Baked in, so that the bake can try them and so that the door is shut from the first second; a
# machine's bundle brings all of its files.
_BAKED = ("sshd.conf", "chrony.conf", "docker-daemon.json", "secondlock-gpu.service")

_VALIDATE = """\
#!/bin/bash
set -euo pipefail
kernel=$(find /boot -name 'vmlinuz-*' -printf '%f\\n' | sort -V | tail -n 1)
ls "/lib/modules/${kernel#vmlinuz-}"/updates/dkms/nvidia-current.ko*
docker image inspect @image@ >/dev/null
nvidia-ctk --version
chronyd -p -f /etc/chrony/chrony.conf | grep '^server 169\\.254\\.169\\.123 '
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
/usr/sbin/sshd -t -o HostKey="$work/host_key"
# Machines get an identity, host keys and packages of their own.
rm -f /etc/ssh/ssh_host_*
apt-get clean
truncate --size 0 /etc/machine-id
"""

_TEST = """\
#!/bin/bash
set -euo pipefail
if ss -Hltn 'sport = :22' | grep .; then
    echo "secondlock: sshd runs without a roster" >&2
    exit 1
fi
chronyc waitsync 30 1
chronyc -n sources | grep '\\^\\* 169\\.254\\.169\\.123'
if ! grep -q 0x10de /sys/bus/pci/devices/*/vendor; then
    echo "secondlock: this instance has no GPU to try" >&2
    exit 1
fi
systemctl start secondlock-gpu.service
nvidia-smi
grep -x 'EnableGpuFirmware: 0' /proc/driver/nvidia/params
# As a workspace is (guest/workspace/containers.py).
docker run --rm --runtime crun --network host --device nvidia.com/gpu=all --init \\
    --user 20001:20001 --cap-drop ALL --security-opt no-new-privileges --read-only \\
    --pids-limit 4096 --tmpfs /tmp --env HOME=/tmp --workdir /tmp --entrypoint python3 @image@ -c '
import tensorflow as tf

assert tf.__version__.startswith("2.9."), tf.__version__
assert tf.config.list_physical_devices("GPU"), "TensorFlow sees no GPU"
with tf.device("/GPU:0"):
    assert tf.reduce_sum(tf.matmul(tf.ones((64, 64)), tf.ones((64, 64)))) == 64**3
'
"""


def render_components(image: str) -> dict[str, str]:
    """The component documents by name, in their order, for the workspace image `image`.

    YAML of schema 1.0 (Image Builder User Guide, "Use the component document framework"). Raises
    ValueError when one exceeds Image Builder's limit.
    """
    return {
        "install": _document(
            "A stock Debian becomes a Secondlock machine",
            _phase("build", _step("Install", render_install(image))),
        ),
        "workspaces": _document(
            "Tools that every workspace finds",
            _phase("build", _step("Workspaces", render_workspaces())),
        ),
        "gateway": _document(
            "JupyterHub, for people who come in a browser",
            _phase("build", _step("Gateway", render_gateway())),
        ),
        "proof": _document(
            "What is on the image is tried before machines are made of it",
            _phase("build", _step("Files", _files())),
            _phase("validate", _step("Check", _VALIDATE.replace("@image@", image))),
            _phase("test", _step("Try", _TEST.replace("@image@", image))),
        ),
    }


def render_agent(image: str) -> str:
    """User-data of the instance that bakes: Systems Manager's agent alone, by which Image Builder
    commands it; Debian's AMIs come without. The step of the install script, as it stands there."""
    head, *steps = re.split(r'(?m)^(?=say ")', render_install(image))
    (agent,) = (step for step in steps if "amazon-ssm-agent" in step)
    needs = "update\napt install --no-install-recommends ca-certificates curl gpgv\n"
    return f"{head}{needs}{agent}systemctl start amazon-ssm-agent.service\n"


def _document(description: str, *phases: dict[str, object]) -> str:
    document = {"description": description, "schemaVersion": 1.0, "phases": list(phases)}
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000)
    if len(text) > LIMIT:
        raise ValueError(f"Image Builder's component has {len(text)} characters, over {LIMIT}")
    return text


def _phase(name: str, *steps: dict[str, object]) -> dict[str, object]:
    return {"name": name, "steps": list(steps)}


def _step(name: str, script: str) -> dict[str, object]:
    """Image Builder replaces what stands in double braces: no script may have any."""
    if "{{" in script:
        raise ValueError(f"the script of the step {name} has double braces")
    return {
        "name": name,
        "action": "ExecuteBash",
        "timeoutSeconds": 5400,
        "onFailure": "Abort",
        "inputs": {"commands": [script]},
    }


def _files() -> str:
    """Those of `_BAKED`, and the mark by which a machine's stub knows that nothing is missing."""
    parts = ["#!/bin/bash\nset -euo pipefail\n"]
    for path, mode, content in templates("aws", *_BAKED):
        parts.append(
            f"mkdir -p {path.rpartition('/')[0]}\n"
            f"cat >{path} <<'END OF FILE'\n{content}END OF FILE\n"
            f"chmod {mode} {path}\n"
        )
    return "".join([*parts, "mkdir -p /etc/secondlock\ntouch /etc/secondlock/installed\n"])


class _Dumper(yaml.SafeDumper):
    """Scripts as blocks of lines: a person may want to read them in the console."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)
