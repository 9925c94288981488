"""The bearer token of the platform: made once, readable to its owner only."""

from __future__ import annotations

import secrets
from pathlib import Path

from tiphys.local.files import locked, write_whole


def ensure_token(path: Path) -> str:
    """Return the token in `path`, making it if there is none; `tiphys up` may do the same at the same time."""
    with locked(path.with_suffix(".lock")):
        if path.exists() and (token := path.read_text().strip()):
            path.chmod(0o600)
            return token
        token = secrets.token_urlsafe(32)
        write_whole(path, token + "\n")
        return token
