#!/usr/bin/env bash
# Finds a Python that can run the set-up (3.10 or later) and hands over to tools/setup.py.
# Usage: tools/setup.sh [--tests] [--clients] [--without-pulumi]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# The project's own environment is what set-up may have to make anew: never run from it.
usable_python() {
    local candidate
    while read -r candidate; do
        [[ $candidate == "$root"/.venv/* ]] && continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
        printf '%s\n' "$candidate"
        return
    done < <(type -aP python3 python3.13 python3.12 python3.11 python3.10; printf '/usr/bin/python3\n')
    return 1
}

if ! python=$(usable_python); then
    if ! command -v apt-get >/dev/null; then
        echo "No Python 3.10 or later, and no apt-get to install it: use Debian 12+ or Ubuntu 22.04+." >&2
        exit 1
    fi
    echo "Python 3: installing it with apt"
    as_root=()
    [[ $(id -u) == 0 ]] || as_root=(sudo)
    if ! said=$("${as_root[@]}" apt-get -q update 2>&1 && "${as_root[@]}" env \
        DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends python3 python3-venv 2>&1); then
        printf '%s\n' "$said" >&2
        exit 1
    fi
    if ! python=$(usable_python); then
        echo "This release's python3 is older than 3.10: use Debian 12+ or Ubuntu 22.04+." >&2
        exit 1
    fi
fi
exec "$python" -m tools.setup "$@"
