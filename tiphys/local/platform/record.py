"""What the supervisor writes down, and whether it is alive.

The supervisor holds a lock for as long as it lives, so a file that a dead one left behind misleads nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tiphys.local.files import write_whole

STATE_FORMAT = 1
"""Raised when the files of a platform change so that an older one's can no longer be used."""


def tool_version() -> str:
    """Return the version of this installation of Tiphys."""
    try:
        return version("tiphys")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0"


@dataclass
class PartState:
    """What became of one part.

    Attributes:
        state: ``absent`` (not in this installation), ``waiting``, ``running``, ``restarting``, ``stopping`` or
            ``stopped``.
        pid: its process; 0 if there is none.
        since: when the state began, seconds since the epoch.
        restarts: how often it was started again.
        message: why it is in that state, if there is more to say.
    """

    state: str = "waiting"
    pid: int = 0
    since: float = field(default_factory=time.time)
    restarts: int = 0
    message: str = ""


@dataclass
class Record:
    """The supervisor's own account of the platform.

    Attributes:
        pid: the supervisor's process.
        started: when it started, seconds since the epoch.
        version: version of Tiphys that it is.
        parts: its parts by name.
        left: processes that it could not end.
    """

    pid: int = 0
    started: float = 0.0
    version: str = ""
    parts: dict[str, PartState] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def save(self, home: Path) -> None:
        """Write the record into the platform's folder."""
        write_whole(_file(home), json.dumps(asdict(self), indent=1) + "\n")

    @property
    def ending(self) -> bool:
        """Whether it has begun to end the platform."""
        return any(part.state in ("stopping", "stopped") for part in self.parts.values())

    @classmethod
    def load(cls, home: Path) -> Record:
        """Read the record; an empty one if there never was a supervisor."""
        try:
            values = json.loads(_file(home).read_text())
            parts = {name: PartState(**state) for name, state in values.pop("parts").items()}
            return cls(**values, parts=parts)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return cls()


def _file(home: Path) -> Path:
    return home / "run" / "supervisor.json"


def lock_file(home: Path) -> Path:
    """Return the file that a live supervisor holds locked."""
    return home / "run" / "supervisor.lock"


def hold(home: Path, seconds: float = 2.0) -> int | None:
    """Become the platform's supervisor: lock the file and return its handle, None if another one lives."""
    lock_file(home).parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock_file(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:  # a supervisor, or somebody who asks just now whether there is one
            if time.monotonic() > deadline:
                os.close(handle)
                return None
            time.sleep(0.05)


def is_up(home: Path) -> bool:
    """Tell whether a supervisor of the platform in `home` is alive."""
    try:
        handle = os.open(lock_file(home), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)


STAMP = "made-by.json"
"""The file that makes a folder a platform's."""
FILE_SYSTEMS_OWN = "lost+found"
_BEFORE_STAMP = ("run", "platform.json", FILE_SYSTEMS_OWN)
"""What a folder may have before it is a platform's: an `up` that was refused leaves it, or a file system has it."""


def foreign(home: Path) -> str:
    """Name some of what is in a folder that is not a platform's; nothing where it is one, or empty, or missing."""
    if not home.exists() or (home / STAMP).exists():
        return ""
    others = sorted(path.name for path in home.iterdir() if path.name not in _BEFORE_STAMP)
    return ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")


def stamp(home: Path) -> None:
    """Note in the platform's folder which version made its files."""
    write_whole(home / STAMP, json.dumps({"format": STATE_FORMAT, "version": tool_version()}) + "\n")


def stamped(home: Path) -> tuple[int, str]:
    """Return the format and the version that made the platform's files; ours if there are none yet."""
    try:
        values = json.loads((home / STAMP).read_text())
        return int(values["format"]), str(values["version"])
    except FileNotFoundError:
        return STATE_FORMAT, tool_version()
    except (ValueError, KeyError, TypeError):
        return 0, "unknown"
