"""Short paths for sockets: a pod's folder may be deeper than the 107 characters that a socket's path may have."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

LIMIT = 107 - len("/mysql.sock")
"""Longest folder that a socket fits in (unix(7): 108 bytes with the final zero)."""


def _base() -> Path:
    # Not XDG_RUNTIME_DIR: that is emptied when the user logs out, and servers may go on.
    return Path(f"/tmp/tiphys-{os.geteuid()}")


def short_link(folder: Path) -> Path:
    """Return a short path that leads to `folder`: itself if it is short enough, else a link, made where missing.

    The links live in a folder of this user alone; those that lead nowhere any more are removed on the way.

    Raises:
        PermissionError: another user owns the folder of the links.
    """
    if len(os.fsencode(folder)) <= LIMIT:
        return folder
    base = _base()
    base.mkdir(mode=0o700, exist_ok=True)
    seen = base.lstat()
    if seen.st_uid != os.geteuid() or not stat.S_ISDIR(seen.st_mode) or seen.st_mode & 0o077:
        raise PermissionError(f"{base} must be a folder that only this user may enter; remove it and try again")
    for other in base.iterdir():
        if other.is_symlink() and not other.exists():
            other.unlink(missing_ok=True)
    link = base / hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    if not link.is_symlink() or os.readlink(link) != str(folder):
        spare = base / f"{link.name}.{os.getpid()}"
        spare.unlink(missing_ok=True)
        spare.symlink_to(folder)
        spare.replace(link)
    return link
