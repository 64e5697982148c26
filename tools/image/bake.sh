#!/bin/sh
# The first and only process when the golden image is booted once, on the machine that builds it:
# it does what would otherwise cost every machine time at its first boot, and is gone after.
# The second disk is the TensorFlow image's root file system as a tar file.
# As PID 1 nothing but this writes to the disk: no machine id, seed or log is left to be shared.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
rm "$0"
tag=$1

say() { echo "secondlock: $*"; }
wait_for() {
    for _ in $(seq 600); do
        [ -S "$1" ] && return
        sleep 0.1
    done
    say "$1 did not appear within a minute"
    return 1
}

mount -t cgroup2 none /sys/fs/cgroup
mount -t securityfs none /sys/kernel/security
ip link set lo up

say "compiling the AppArmor profiles"
/lib/apparmor/apparmor.systemd reload >/dev/null

say "starting Docker"
containerd --log-level warn &
containerd=$!
wait_for /run/containerd/containerd.sock
dockerd --log-level warn --iptables=false --ip6tables=false --bridge=none &
docker=$!
wait_for /run/docker.sock

say "reading TensorFlow's image"
# dd, because it says how far it is; Docker takes the tar file as it is.
timeout 3600 dd if=/dev/vdb bs=1M status=progress |
    docker import \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV LANG=C.UTF-8' \
        --change 'CMD ["bash"]' \
        - "$tag"
docker image inspect --format 'secondlock: {{.Size}} bytes as {{index .RepoTags 0}}' "$tag"

say "ending"
kill "$docker"
wait "$docker" || true
kill "$containerd"
wait "$containerd" || true
rm -rf /var/lib/docker/tmp/* /var/log/*.log
# Freed blocks become holes of the image file again.
fstrim /
sync
say "baked"
sleep 1
echo u >/proc/sysrq-trigger
sync
echo o >/proc/sysrq-trigger
sleep 60
