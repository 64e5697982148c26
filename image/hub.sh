# Runs once in the building of a machine's system, its folder as $1, after JupyterHub's wheels lie in
# their place: what the HTTPS gateway runs (cloudinit/guest/gateway/).
set -eu
root=$1
place=/usr/local/lib/secondlock-hub

# Debian's own nginx would listen at port 80. The gateway has a unit of its own.
chroot "$root" systemctl --quiet disable nginx.service
rm -rf "$root$place/bin"

# The hub cannot write byte code here, and would compile all of it at every start.
chroot "$root" python3 -I -m compileall -q -j 0 --invalidation-mode unchecked-hash "$place"
chroot "$root" python3 -I -c "import sys; sys.path.insert(0, '$place')
import aiohttp, joserfc.jwt, jupyterhub.app, jupyterhub.services.auth"
chroot "$root" /usr/sbin/nginx -V 2>/dev/null
