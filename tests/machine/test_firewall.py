"""What listens on a machine, and what its own firewall lets through."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.machine import Machine


def test_only_ssh_listens_beyond_the_machine_itself(machine: Machine) -> None:
    lines = machine.succeed("ss -Hltnu").splitlines()
    listening = {line.split()[4] for line in lines}
    inside = {each for each in listening if re.match(r"(127\.|\[::1\])", each)}
    own = machine.succeed("hostname -I").split()[0]
    assert listening - inside <= {"0.0.0.0:22", "[::]:22", f"{own}%eth0:68"}, listening
    # Workspaces share the loopback: chrony's and the resolver's ports, and Jupyter's.
    expected = {"127.0.0.1:323", "[::1]:323", "127.0.0.54:53", "127.0.0.53%lo:53"}
    assert inside <= expected | {"127.0.0.1:8888"}, listening


def test_the_firewall_drops_what_nothing_allows(machine: Machine) -> None:
    listed = json.loads(machine.succeed("nft -j list table inet secondlock"))["nftables"]
    chains = {
        one["chain"]["name"]: one["chain"]["policy"]
        for one in listed
        if one.get("chain", {}).get("type") == "filter"  # the others lead, and refuse nobody
    }
    assert chains == {"input": "drop", "forward": "drop", "output": "accept"}
