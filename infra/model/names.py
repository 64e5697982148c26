"""Which names researchers and machines may have."""

from __future__ import annotations

import re

from infra.model.problems import RefusedError
from infra.model.text import brief

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"
"""useradd(8)'s rule, less the leading underscore: Debian keeps that for system users."""

LABEL_PATTERN = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
"""What a part of a web address may be (RFC 1123, 2.1), within NAME_PATTERN's length."""

DOMAIN_PATTERN = r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.){1,5}[a-z]{2,63}"
"""A domain as people write it, in small letters."""

ZONE_PATTERN = r"^[a-z]{2}(-[a-z]+)+-[0-9]+[a-h]$"
"""An availability zone: its region and a letter. Local and wavelength zones have no such name."""

AUTHENTICATOR_PATTERN = "^[a-z][a-z0-9-]{0,19}$"
"""Short: it stands in a login's log and in the table of `status`."""

COST_CENTRE_PATTERN = r"^(?! )[\w .:/=+@-]{1,256}(?<! )$"
"""What EC2 takes as a tag's value (EC2 User Guide, "Tag restrictions"), blanks only between others:
at an end nobody sees them, and the bills of `4711` and `4711 ` are two."""

# useradd makes a group of the user's name: groups are reserved too.
_DEBIAN = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody adm
tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl
plugdev staff users nogroup input sgx clock kvm render crontab netdev wheel
"""
_PACKAGES = """
messagebus polkitd sshd ssh ssl-cert chrony ntp fail2ban docker containerd dockremap tss uuidd
tcpdump dnsmasq dhcpcd landscape pollinate lxd libvirt qemu rtkit avahi postfix ftp sssd
nvidia-persistenced
"""
_CLOUD = "admin administrator debian ubuntu ec2-user cloud-user cloud-init ssm-user cwagent"
_CONFUSING = "halt shutdown reboot localhost"
# A request would be retired.yaml; sshd calls whoever is nobody `unknown`.
_OWN = "retired unknown"

_SYSTEM_NAMES = frozenset(" ".join([_DEBIAN, _PACKAGES, _CLOUD]).split())
_OWN_NAMES = frozenset(f"{_CONFUSING} {_OWN}".split())
_SYSTEM_PREFIX, _OWN_PREFIX = "systemd-", "secondlock"


def check_researcher_name(name: str) -> str:
    """The name, if Debian would make a user of it and none of the machine's own has it.

    Raises RefusedError.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise RefusedError(
            f"'{brief(name)}' cannot be a user name",
            "1 to 32 of a-z, 0-9, _ and -, the first one a letter",
        )
    if name in _SYSTEM_NAMES or name.startswith(_SYSTEM_PREFIX):
        raise RefusedError(f"`{name}` is the name of a system user or group", "take another name")
    if name in _OWN_NAMES or name.startswith(_OWN_PREFIX):
        raise RefusedError(f"`{name}` is reserved by Secondlock", "take another name")
    return name


def check_authenticator_name(name: str) -> str:
    """The name of what shows a person's codes. Raises RefusedError."""
    if not re.fullmatch(AUTHENTICATOR_PATTERN, name):
        raise RefusedError(
            f"'{brief(name)}' cannot be an authenticator's name",
            "1 to 20 of a-z, 0-9 and -, the first one a letter",
        )
    return name


def check_machine_name(name: str) -> str:
    """The name, if it can be a host's too. Raises RefusedError."""
    if not re.fullmatch(NAME_PATTERN, name) or name in _SYSTEM_NAMES | _OWN_NAMES:
        raise RefusedError(
            f"'{brief(name)}' cannot be a machine's name",
            "1 to 32 of a-z, 0-9, _ and -, the first one a letter, and no system user's name",
        )
    return name
