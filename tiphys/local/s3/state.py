"""What the S3 server is at, in a file that ``tiphys status`` and the engine read."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tiphys.local.files import write_whole
from tiphys.local.platform.processes import read

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
        writer = read(os.getpid())
        assert writer
        values = {**asdict(self), "writer": [writer.pid, writer.ticks]}
        write_whole(_file(home), json.dumps(values) + "\n")

    @classmethod
    def load(cls, home: Path) -> State:
        """Read the state of the platform in `home`; ``stopped`` where there is no S3 server."""
        try:
            values = json.loads(_file(home).read_text())
            pid, ticks = values.pop("writer")
            state = cls(**values)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return cls("stopped")
        writer = read(pid)
        if state.phase != "failed" and (writer is None or writer.ticks != ticks):
            return cls("stopped")  # it was killed before it could say so
        return state


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
