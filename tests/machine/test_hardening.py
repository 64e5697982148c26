"""The machine as an attacker or an auditor finds it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloudinit.bundle import files

if TYPE_CHECKING:
    from cloudinit.facets import Target
    from tests.support.machine import Machine


def test_no_unit_has_failed(machine: Machine) -> None:
    assert machine.succeed("systemctl --failed --plain --no-legend") == ""


# As systemd-analyze(1), `security`, judges: 0 is confined in every way, 10 in none.
OURS = 4.0
OURS_ON_AWS = {"secondlock-install.service": 10.0}  # it installs packages
# What makes logins and containers as root can give up only so much.
OTHERS = {"fail2ban": 4.0, "chrony": 4.0, "ssh": 8.0, "docker": 8.0, "containerd": 8.0}


def test_each_service_is_confined_as_far_as_it_works(machine: Machine) -> None:
    ours = {unit.replace("@.", "@nobody."): OURS for unit in _services("local")}
    goals = ours | {f"{unit}.service": most for unit, most in OTHERS.items()}
    machine.succeed("systemctl daemon-reload")  # a first boot leaves that for later
    _confined(machine, goals, " ".join(goals))


def test_each_service_of_aws_is_confined_as_far_as_it_works(machine: Machine) -> None:
    """By its file alone, since this machine is none of AWS's; so is what upgrades a machine."""
    units = {unit: file for unit, file in _services("aws").items() if "@" not in unit}
    units["secondlock-upgrade.service"] = _file("upgrade.conf") + "ExecStart=/bin/true\n"
    for unit, file in units.items():
        machine.succeed(f"mkdir -p /run/judged && cat >/run/judged/{unit}", stdin=file.encode())
    goals = dict.fromkeys(units, OURS) | OURS_ON_AWS
    _confined(machine, goals, "--offline=yes /run/judged/*")


def _services(target: Target) -> dict[str, str]:
    found = {path.rsplit("/", 1)[1]: content for path, _, content in files(target)}
    return {name: content for name, content in found.items() if name.endswith(".service")}


def _file(name: str) -> str:
    (found,) = (content for path, _, content in files("local") if path.endswith(f"/{name}"))
    return found


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


def test_upgrades_leave_what_would_end_peoples_work(machine: Machine) -> None:
    dump = machine.succeed("apt-config dump Unattended-Upgrade::Package-Blacklist")
    patterns = re.findall(r'Blacklist:: "(.*)";', dump)

    def held(package: str) -> bool:
        return any(re.match(pattern, package) for pattern in patterns)

    kept = [
        "docker.io",
        "docker-ce",
        "containerd",
        "containerd.io",
        "crun",
        "runc",
        "nvidia-driver",
    ]
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


def test_a_researcher_has_no_way_to_root_but_the_one_helper(machine: Machine) -> None:
    person = machine.researcher()
    listed = machine.succeed(f"sudo -n -l -U {person.name} | sed -n '/may run/,$p' | tail -n +2")
    assert listed.split() == ["(root)", "NOPASSWD:", "/usr/local/lib/secondlock/enter", '""']
