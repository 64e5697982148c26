# Runs once in the building of the guest's root file system, its folder as $1: compiles our PAM module,
# whose source lies in the new system's /usr/local/src, with the new system's own compiler, which is
# taken away again.
set -eu
root=$1
compiler="gcc libc6-dev libpam0g-dev"

# mmdebstrap's own apt, which works on the new system from outside (mmdebstrap(1), HOOKS).
apt() {
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Chroot-Directory="$root" "$@"
}

before=$(chroot "$root" dpkg-query -W -f '${Package}\n')
# shellcheck disable=SC2086
apt install --no-install-recommends $compiler
chroot "$root" sh -eu /usr/local/src/secondlock/build.sh
# What came with the compiler, and nothing else: apt's own idea of what is needed is wider.
chroot "$root" dpkg-query -W -f '${Package}\n' >"$root/tmp/after"
# shellcheck disable=SC2046
chroot "$root" dpkg --purge $(printf '%s\n' "$before" | grep -vxFf - "$root/tmp/after") >/dev/null
rm -f "$root/tmp/after"
