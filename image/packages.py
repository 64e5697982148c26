"""The Debian packages of every machine: the local golden image and the AWS image share them."""

from __future__ import annotations

RELEASE = "trixie"
"""Code name of the Debian release that machines run."""

PACKAGES: tuple[str, ...] = (
    # Start, kernel, disks
    "systemd-sysv",
    "udev",
    "dbus",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "kmod",
    "e2fsprogs",
    "mount",
    "login",
    "passwd",
    "adduser",
    # First boot and the host's root channel
    "cloud-init",
    "qemu-guest-agent",
    # Network
    "systemd-resolved",
    "iproute2",
    "iputils-ping",
    "netbase",
    "nftables",
    "ca-certificates",
    # The two locks and their guard; fail2ban only recommends python3-systemd, but reads the
    # journal through it.
    "openssh-server",
    "fail2ban",
    "python3-systemd",
    "sudo",
    # Who did what
    "auditd",
    # Time: one-time codes depend on it
    "chrony",
    "tzdata",
    # Workspaces; without apparmor `docker run` fails
    "docker.io",
    "docker-cli",
    "crun",
    "apparmor",
    # What an image of one's own may lack (image/toolbox.sh)
    "openssh-sftp-server",
    "openssh-client",
    "rsync",
    "tmux",
    # Jupyter by HTTPS (image/hub.sh)
    "nginx",
    # Upkeep
    "unattended-upgrades",
    "debian-archive-keyring",
    "logrotate",
    "cron",
    # The target aws: its roster, its logs, and the parts of its data volume
    "python3-botocore",
    "fdisk",
    # What an administrator expects
    "python3",
    "procps",
    "psmisc",
    "less",
    "vim-tiny",
)
"""Names as apt knows them; recommended packages are not installed."""
