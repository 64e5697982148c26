# Runs once in the building of the guest's root file system, as root of that file system's
# owner, with its folder as $1, after all packages are installed.
set -eu
root=$1

enable() { chroot "$root" systemctl --quiet enable "$@"; }
disable() { chroot "$root" systemctl --quiet disable "$@"; }
mask() { chroot "$root" systemctl --quiet mask "$@"; }

# The door stays shut until secondlock-sync has a roster and a host key; both locks start with it.
disable ssh.service ssh.socket fail2ban.service
mask sshd-keygen.service
rm -f "$root"/etc/ssh/ssh_host_*
enable docker.service containerd.service chrony.service systemd-networkd.service \
    systemd-resolved.service

# Who did what is recorded by a unit of ours (cloudinit/guest/audit/). journald would keep what the
# kernel says a second time, with whatever stands in arguments.
disable auditd.service audit-rules.service
mask systemd-journald-audit.socket

# Nobody logs in at a console; there is no firmware log to keep and no LVM to check.
mask getty@tty1.service serial-getty@ttyS0.service systemd-pstore.service \
    e2scrub_reap.service e2scrub_all.timer

# It would open a second door: sshd on a local socket, started at every boot, roster or not.
mkdir -p "$root/etc/systemd/system-generators"
ln -s /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"

# Only Docker asks containerd for anything: its Kubernetes part would listen on the loopback, which
# workspaces share.
cat >"$root/etc/containerd/config.toml" <<'EOF'
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
EOF

cat >"$root/etc/fstab" <<'EOF'
LABEL=sl-root / ext4 rw,relatime,errors=remount-ro 0 1
EOF

# netplan would do no more than to write networkd's files, and takes seconds.
cat >"$root/etc/cloud/cloud.cfg.d/90-secondlock.cfg" <<'EOF'
datasource_list: [NoCloud, Ec2, None]
system_info: {network: {renderers: [networkd], activators: [networkd]}}
EOF

# containerd needs nothing of what cloud-init sets up, and Docker waits for it: it starts while
# cloud-init loads. A unit of its own, since a drop-in cannot take an order back (systemd.unit(5)).
sed -e 's/^After=.*/After=local-fs.target/' \
    -e 's/^\[Unit\]$/&\nDefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target/' \
    "$root/usr/lib/systemd/system/containerd.service" >"$root/etc/systemd/system/containerd.service"
grep -qx After=local-fs.target "$root/etc/systemd/system/containerd.service"

# What the admin does by the guest agent goes before what workspaces and the boot do.
mkdir -p "$root/etc/systemd/system/qemu-guest-agent.service.d"
cat >"$root/etc/systemd/system/qemu-guest-agent.service.d/secondlock.conf" <<'EOF'
[Service]
Nice=-10
EOF

# It only waits for the shutdown: nothing waits for it.
mkdir -p "$root/etc/systemd/system/unattended-upgrades.service.d"
cat >"$root/etc/systemd/system/unattended-upgrades.service.d/secondlock.conf" <<'EOF'
[Service]
CPUSchedulingPolicy=idle
EOF

# The firewall's parts of the kernel, while the boot waits for other things.
cat >"$root/etc/modules-load.d/secondlock.conf" <<'EOF'
nft_ct
nft_limit
nft_reject_inet
EOF

cat >"$root/etc/locale.conf" <<'EOF'
LANG=C.UTF-8
EOF
ln -sf ../locale.conf "$root/etc/default/locale"

# What mmdebstrap wrote names the building host's keyring and, perhaps, its mirror.
rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
cat >"$root/etc/apt/sources.list.d/debian.sources" <<'EOF'
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp
EOF

# mmdebstrap copied these from the building host; cloud-init and resolved write their own.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

# The package apparmor brings about a hundred profiles, for desktop programs that no machine has.
# Loading them is the slowest part of a boot without hardware acceleration, and passing over them
# takes seconds too. dpkg(1) does not bring back a configuration file that was removed. What has a
# profile for use here (chrony, Docker) brings its own.
for profile in $(chroot "$root" dpkg -L apparmor | sed -n 's,^\(/etc/apparmor\.d/[^/]*\)$,\1,p'); do
    [ ! -f "$root$profile" ] || rm "$root$profile"
done

# `secondlock doctor` tells an old image by them.
chroot "$root" dpkg-query --show >"$root/var/lib/secondlock-packages"

# What systemd would do at every machine's first boot because /usr is newer than its notes of it.
chroot "$root" ldconfig
chroot "$root" journalctl --quiet --update-catalog
chroot "$root" /usr/lib/systemd/systemd-update-done
