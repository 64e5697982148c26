"""The program that takes a bundle on a machine that lives, as the host sends it along.

It is the stub and a few lines: so it works on machines whose own programs are older than it.
"""

from __future__ import annotations

from cloudinit.facets import GUEST

_RECEIVE = """
content, digest = sys.stdin.buffer.read(), sys.argv[1]
if hashlib.sha256(content).hexdigest() != digest:
    sys.exit("the bundle arrived damaged")
upgrade = f"{unpack(content, digest)}/{LIBRARY}/upgrade"
if not os.path.exists(upgrade):
    sys.exit("what came is no bundle of ours")
os.execv(upgrade, [upgrade, "start", *sys.argv[1:]])
"""


def receiver() -> str:
    """A program for `python3 -c`: its argument is the SHA-256, its standard input the bundle.

    It prints what cloudinit/guest/upgrade/change.py reports.
    """
    return (GUEST / "stub.py").read_text(encoding="utf-8") + _RECEIVE
