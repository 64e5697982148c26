# Unpacks the tar file on descriptor 8 and writes it as an ext4 image to descriptor 9.
set -eu
folder=$(mktemp -d "$TMPDIR/secondlock.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM HUP
# The kernel fills /dev, and only true root could make its nodes.
tar --extract --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' \
    --directory "$folder" <&8
truncate --size 12G /proc/self/fd/9
# A name of its own: two disks of a machine must not carry the same label.
mke2fs -q -F -t ext4 -L sl-root -m 1 -d "$folder" /proc/self/fd/9
