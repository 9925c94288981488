"""What the kubelet remembers of a container in a file, so that its successor goes on where it stopped."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tiphys.local.kubelet.lifecycle import BackOff, exit_reason
from tiphys.local.kubelet.runtime import Exit, last_run
from tiphys.local.kubelet.status import timestamp

log = logging.getLogger(__name__)

_FORGOTTEN = ("_path", "next_pause", "resume_at")
"""What no file keeps."""


@dataclass
class Record:
    """The runs of one container.

    Attributes:
        container_id: id of the newest run; empty before the first.
        started_at: its start, seconds since the epoch.
        terminated: how it ended, in the form of the API; None while it runs.
        last: how the run before it ended, if there was one.
        restarts: number of starts after the first.
        next_pause: pause before the restart after the next, see `BackOff`.
        resume_at: when the container may be started again, seconds since the epoch.

    A kubelet that starts knows of no back-off, as Kubernetes' own: what had to wait is started again at once.
    """

    container_id: str = ""
    started_at: float = 0.0
    terminated: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    restarts: int = 0
    next_pause: float = 0.0
    resume_at: float = 0.0
    _path: Path = field(default=Path("/dev/null"), repr=False)

    @classmethod
    def load(cls, base: Path) -> Record:
        """Read the record of the container with files ``<base>.*``; an empty one when there is none.

        Of a record that cannot be read, the newest run is told by the shim's own file: a container that goes on
        must be adopted, since a second one beside it would have the same volumes.
        """
        path = Path(f"{base}.run.json")
        try:
            known = json.loads(path.read_text())
            return cls(**{key: value for key, value in known.items() if key not in _FORGOTTEN}, _path=path)
        except FileNotFoundError:
            return cls(_path=path)
        except (ValueError, TypeError, AttributeError) as error:
            container_id, started_at = last_run(base)
            what = {"file": str(path), "error": str(error), "containerID": container_id}
            log.error("cannot read the record of a container; its restarts are forgotten", extra=what)
            return cls(container_id, started_at, _path=path)

    def save(self) -> None:
        """Write the record."""
        values = {key: value for key, value in asdict(self).items() if key not in _FORGOTTEN}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(values))
        temporary.replace(self._path)

    def begin(self, container_id: str, now: float) -> None:
        """Note that a run is about to start."""
        if self.container_id:
            self.restarts += 1
            self.last = self.terminated
        self.container_id, self.started_at, self.terminated = container_id, now, None
        self.save()

    def undo(self) -> None:
        """Take back `begin`: the kubelet ended before the run could start."""
        self.restarts -= 1 if self.last else 0
        self.container_id = (self.last or {}).get("containerID", "")
        self.terminated = self.last
        self.save()

    def end(self, ended: Exit, reason: str = "", message: str = "") -> None:
        """Note how the run ended, and from when on the container may be started again."""
        unknown = "" if ended.known else "ContainerStatusUnknown"
        self.terminated = {
            "exitCode": ended.code,
            "reason": reason or unknown or exit_reason(ended.code),
            "startedAt": timestamp(self.started_at),
            "finishedAt": timestamp(ended.finished_at),
            "containerID": self.container_id,
        }
        if ended.code > 128 and ended.known:
            self.terminated["signal"] = ended.code - 128
        if message:
            self.terminated["message"] = message
        back_off = BackOff(self.next_pause)
        self.resume_at = ended.finished_at + back_off.after(ended.finished_at - self.started_at)
        self.next_pause = back_off.next_pause
        self.save()
