"""The machine as an attacker or an auditor finds it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cloudinit.bundle import files

if TYPE_CHECKING:
    from cloudinit.facets import Target
    from tests.support.client import Client
    from tests.support.machine import Machine

FAILURE, UNREACHED = 3, 1  # ssh-audit(1), exit codes


def test_ssh_audit_finds_no_failure(machine: Machine, client: Client) -> None:
    program = Path(sys.executable).with_name("ssh-audit")
    argv = [str(program), "--skip-rate-test", "-n", "-p", str(client.port), client.address]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode not in {FAILURE, UNREACHED}, done.stdout


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
        if "hook" in one.get("chain", {})
    }
    assert chains == {"input": "drop", "forward": "drop", "output": "accept"}


def test_no_unit_has_failed(machine: Machine) -> None:
    assert machine.succeed("systemctl --failed --plain --no-legend") == ""


# As systemd-analyze(1), `security`, judges: 0 is confined in every way, 10 in none.
OURS = 4.0
# The first brings rosters, whose volumes and accounts all are to see; the second installs packages.
OURS_ON_AWS = {"secondlock-fetch.service": 5.5, "secondlock-install.service": 10.0}
# What makes logins and containers as root can give up only so much.
OTHERS = {"fail2ban": 4.0, "chrony": 4.0, "ssh": 8.0, "docker": 8.0, "containerd": 8.0}


def test_each_service_is_confined_as_far_as_it_works(machine: Machine) -> None:
    ours = {unit.replace("@.", "@nobody."): OURS for unit in _services("local")}
    goals = ours | {f"{unit}.service": most for unit, most in OTHERS.items()}
    machine.succeed("systemctl daemon-reload")  # a first boot leaves that for later
    _confined(machine, goals, " ".join(goals))


def test_each_service_of_aws_is_confined_as_far_as_it_works(machine: Machine) -> None:
    """By its file alone, since this machine is none of AWS's."""
    units = {unit: file for unit, file in _services("aws").items() if "@" not in unit}
    for unit, file in units.items():
        machine.succeed(f"mkdir -p /run/judged && cat >/run/judged/{unit}", stdin=file.encode())
    goals = dict.fromkeys(units, OURS) | OURS_ON_AWS
    _confined(machine, goals, "--offline=yes /run/judged/*")


def _services(target: Target) -> dict[str, str]:
    found = {path.rsplit("/", 1)[1]: content for path, _, content in files(target)}
    return {name: content for name, content in found.items() if name.endswith(".service")}


def _confined(machine: Machine, goals: dict[str, float], which: str) -> None:
    said = machine.succeed(f"systemd-analyze security --no-pager {which}", timeout=300)
    found = re.findall(r"exposure level for (\S+): ([\d.]+)", said)
    assert {unit for unit, _ in found} == set(goals)
    assert {unit: level for unit, level in found if float(level) > goals[unit]} == {}


def test_the_kernel_offers_little_to_who_has_no_privileges(machine: Machine) -> None:
    wanted = machine.succeed("sed -n 's/ = /=/p' /etc/sysctl.d/60-secondlock.conf").split("\n")
    for line in filter(None, wanted):
        name, value = line.split("=")
        assert machine.succeed(f"sysctl -n {name}").split() == value.split(), name
    for module in ("af_alg", "sctp", "dccp", "usb-storage"):
        machine.fail(f"modprobe {module}")


def test_a_login_is_known_longer_than_the_journal_is_kept(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person).entered
    machine.status()
    machine.succeed("journalctl --rotate && journalctl --vacuum-time=1s")
    kept = machine.succeed("cat /var/log/secondlock/logins.log")
    assert f"Accepted keyboard-interactive/pam for {person.name} from " in kept
    assert machine.person_status(person)["last_login"] is not None


def test_only_sshd_itself_tells_of_logins(machine: Machine) -> None:
    forged = "Accepted publickey for mallory from 203.0.113.66 port 22 ssh2"
    machine.succeed(f"setpriv --reuid 20001 --clear-groups logger -t sshd-session '{forged}'")
    machine.succeed("journalctl --sync")
    machine.status()
    machine.fail("grep mallory /var/log/secondlock/logins.log /var/lib/secondlock/logins.json")


def test_upgrades_leave_what_would_end_peoples_work(machine: Machine) -> None:
    dump = machine.succeed("apt-config dump Unattended-Upgrade::Package-Blacklist")
    patterns = re.findall(r'Blacklist:: "(.*)";', dump)

    def held(package: str) -> bool:
        return any(re.match(pattern, package) for pattern in patterns)

    kept = ["docker.io", "docker-ce", "containerd", "containerd.io", "runc", "nvidia-driver"]
    kept += ["linux-image-cloud-amd64", "nvidia-container-toolkit"]
    assert [package for package in kept if not held(package)] == []
    assert not any(held(package) for package in ("openssh-server", "sudo", "libc6", "systemd"))
    machine.succeed("systemctl is-enabled apt-daily-upgrade.timer")


def test_nobody_else_can_change_what_root_runs_or_reads(machine: Machine) -> None:
    places = "/usr/local /etc/secondlock /etc/ssh /etc/pam.d /etc/sudoers.d /var/lib/secondlock"
    test = "! -type l \\( -perm /022 -o ! -uid 0 \\) -print"
    found = machine.succeed(f"find {places} {test}")
    assert found == ""
    assert machine.succeed("stat -c %a /var/lib/secondlock").strip() == "700"
    assert machine.succeed("stat -c %a /var/lib/secondlock/ssh_host_ed25519_key").strip() == "600"


def test_sshd_asks_everyone_for_two_factors(machine: Machine) -> None:
    person, other = machine.researcher(), machine.researcher("password+totp")
    methods = "sshd -T -C user={},host=x,addr=10.0.2.2 | grep -i ^authenticationmethods"
    first = machine.succeed(methods.format(person.name)).split()[1:]
    assert first == ["publickey,keyboard-interactive:pam"]
    assert machine.succeed(methods.format(other.name)).split()[1:] == ["keyboard-interactive:pam"]
    assert machine.succeed(methods.format("root")).split()[1:] == first


def test_a_researcher_has_no_way_to_root_but_the_one_helper(machine: Machine) -> None:
    person = machine.researcher()
    listed = machine.succeed(f"sudo -n -l -U {person.name} | sed -n '/may run/,$p' | tail -n +2")
    assert listed.split() == ["(root)", "NOPASSWD:", "/usr/local/lib/secondlock/enter", '""']
