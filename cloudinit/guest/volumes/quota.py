"""How much of the home volume each member of a shared machine may fill.

By owner, not by project: who owns a file may take it out of its project (ioctl_fsxattr in the
kernel's fs/ioctl.c asks for no privilege outside of a user namespace), and in a workspace nobody
can own a file but its researcher.
"""

import ctypes
import os
import struct

from guest import paths
from guest.system import GuestError

# quotactl(2); its call by a file descriptor has no wrapper in the C library.
_QUOTACTL_FD = 443
_SET, _USERS = 0x800008, 0
_LIMITS = 1 | 4  # QIF_BLIMITS, QIF_ILIMITS
_BLOCKS = 1024  # of a MiB, of 1,024 bytes each
_FILES = 64  # for each MiB: as many as the file system itself has by default (mke2fs.conf(5))


def limit(uid: int, mib: int) -> None:
    """Let files of this owner take so much of the volume and no more. Raises GuestError."""
    blocks, files = mib * _BLOCKS, mib * _FILES
    wanted = struct.pack("<8QI4x", blocks, blocks, 0, files, files, 0, 0, 0, _LIMITS)
    library = ctypes.CDLL(None, use_errno=True)
    home = os.open(paths.HOME, os.O_RDONLY | os.O_DIRECTORY)
    try:
        failed = library.syscall(_QUOTACTL_FD, home, _SET << 8 | _USERS, uid, wanted)
    finally:
        os.close(home)
    if failed:
        reason = os.strerror(ctypes.get_errno())
        raise GuestError(f"the home volume takes no limits for its owners: {reason}")
