"""What the kubelet remembers of a pod as a whole, in a file of the pod's folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

FILE = "pod.json"


class PodFile:
    """Address, start and end of a pod, kept across restarts of the kubelet."""

    def __init__(self, path: Path, values: dict[str, Any]):
        self._path, self._values = path, values

    @classmethod
    def load(cls, folder: Path, pod: dict[str, Any]) -> PodFile:
        """Read the file in `folder`, or begin it for `pod`."""
        path = folder / FILE
        try:
            return cls(path, json.loads(path.read_text()))
        except (FileNotFoundError, ValueError):
            meta = pod["metadata"]
            values = {"namespace": meta["namespace"], "name": meta["name"], "start_time": time.time()}
            return cls(path, values)

    @property
    def address(self) -> str | None:
        """The pod's address, None before it has one."""
        return self._values.get("address")

    @property
    def start_time(self) -> float:
        """When the kubelet took the pod, seconds since the epoch."""
        return float(self._values["start_time"])

    def keep_address(self, address: str) -> None:
        """Remember the pod's address."""
        self._values["address"] = address
        self._save()

    def stop_began(self) -> float:
        """Return when the pod was first asked to stop (now, if it was not before), seconds since the epoch."""
        if "stop_began" not in self._values:
            self._values["stop_began"] = time.time()
            self._save()
        return float(self._values["stop_began"])

    def _save(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._values))
        temporary.replace(self._path)
