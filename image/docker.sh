# Runs in the building of the guest's root file system, its folder as $1: the guest's own Docker
# takes the TensorFlow image (a tar file on descriptor 8), so that no machine has to at its start.
# Everything is in a mount namespace of its own and is gone with it. Docker insists on "/" being
# a mount point and, as real root, on control groups; in a user namespace it does without.
exec unshare --mount --propagation private sh -eu -s "$1" <<'EOF'
root=$1
tag=secondlock/tensorflow:2.9.3
mount --rbind "$root" "$root"
cd "$root"
mount -t cgroup2 none "$root/sys/fs/cgroup" 2>/dev/null || true

chroot "$root" dockerd --storage-driver=overlay2 --bridge=none --ip-forward=false \
    --iptables=false --ip6tables=false </dev/null >"$root/run/dockerd.log" 2>&1 &
docker=$!
for _ in $(seq 300); do
    [ -S "$root/run/docker.sock" ] && break
    sleep 0.2
done
if ! [ -S "$root/run/docker.sock" ]; then
    grep -v level=info "$root/run/dockerd.log"
    exit 1
fi

echo "secondlock: giving TensorFlow's image to Docker"
chroot "$root" docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["bash"]' \
    - "$tag" <&8
kill "$docker"
wait "$docker" || true
# The engine's id is the machine's own; it makes one at its start.
rm -rf "$root/var/lib/docker/engine-id" "$root"/var/lib/docker/tmp/*
rm -rf "$root"/run/docker* "$root"/run/containerd
EOF
