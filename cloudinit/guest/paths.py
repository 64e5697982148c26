"""Where things lie on a machine."""

from pathlib import Path

PROGRAMS = Path(__file__).parent
ETC = Path("/etc/secondlock")
MACHINE = ETC / "machine.json"
AUTHORIZED_KEYS = ETC / "authorized_keys"
WORKSPACES = ETC / "workspaces"
ALLOWED = ETC / "allowed.nft"
PREPARED = ETC / "prepared"
UPGRADE = ETC / "upgrade.json"  # there as long as one is under way
UNITS = Path("/etc/systemd/system")
VENDOR_UNITS = Path("/usr/lib/systemd/system")

# The state volume: root only, survives the machine.
STATE = Path("/var/lib/secondlock")
STATE_FILE = STATE / "state.json"
HOST_KEY = STATE / "ssh_host_ed25519_key"

HOME = Path("/home")
# Researchers' login shell; PAM lets nobody in who has another (ssh/pam.j2).
SHELL = Path("/usr/local/lib/secondlock/shell")
# Of each researcher: the one folder that a workspace shares with the machine for sockets.
SOCKETS = HOME / ".run"

# Told by the host (infra/local/clock.py).
RTC_BEHIND = ETC / "rtc-behind"

RUN = Path("/run/secondlock")
SHUT = RUN / "shut"  # whose workspaces nobody may enter just now
LOCK = RUN / "sync.lock"
STATUS = RUN / "status.json"
ERROR = RUN / "error"
NEXT_BOOT = RUN / "next-boot"  # changed files that count from then on
UPGRADED = RUN / "upgraded.json"  # what became of the last upgrade
APPLIED = RUN / "applied"  # which roster of AWS's, in this boot
