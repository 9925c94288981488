"""What the S3 server is at, in a file that ``tiphys status`` and the engine read."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tiphys.local.files import write_whole

Phase = Literal["building", "starting", "ready", "failed", "stopped"]


@dataclass(frozen=True)
class State:
    """The S3 server's state.

    Attributes:
        phase: ``building`` (versitygw is compiled), ``starting``, ``ready`` (a signed request was answered),
            ``failed``, ``stopped``.
        kind: ``versitygw`` or ``moto``; empty while that is open.
        version: version of the server.
        origin: where it came from: ``path``, ``cache``, ``built`` or ``python``.
        message: what a person should know, such as why it is moto.
        pid: the server's process, 0 if there is none.
    """

    phase: Phase
    kind: str = ""
    version: str = ""
    origin: str = ""
    message: str = ""
    pid: int = 0

    def save(self, home: Path) -> None:
        """Write the state into the platform's folder."""
        write_whole(_file(home), json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, home: Path) -> State:
        """Read the state of the platform in `home`; ``stopped`` if it never had an S3 server."""
        try:
            return cls(**json.loads(_file(home).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return cls("stopped")


def last_written(home: Path) -> float:
    """Return when the state was last written, in seconds since the epoch; 0 if never."""
    try:
        return _file(home).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _file(home: Path) -> Path:
    return home / "run" / "s3.json"


async def wait_until_ready(home: Path, seconds: float) -> State:
    """Wait until the S3 server answers; while it is being built that can take minutes.

    Returns:
        The last state seen: ask its ``phase`` whether it is ready.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        state = State.load(home)
        if state.phase == "ready" or asyncio.get_running_loop().time() > deadline:
            return state
        await asyncio.sleep(0.2)
