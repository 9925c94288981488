"""The processes that make up a platform, in the order in which they start."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One process of the platform.

    Attributes:
        name: what people and log files call it.
        module: what ``python -m`` runs.
        does: what it is for, in a few words.
    """

    name: str
    module: str
    does: str

    def command(self, home: Path) -> list[str]:
        """Return the words that start it."""
        return [sys.executable, "-m", self.module, "--home", str(home)]

    def exists(self) -> bool:
        """Tell whether this installation has the part."""
        try:
            return importlib.util.find_spec(f"{self.module}.__main__") is not None
        except ModuleNotFoundError:
            return False

    def is_run_by(self, words: Sequence[str]) -> bool:
        """Tell whether the command line `words` is this part's process."""
        return any(pair == ("-m", self.module) for pair in zip(words, words[1:], strict=False))


PARTS = (
    Part("s3", "tiphys.local.s3", "objects: backups, reports, artifacts"),
    Part("apiserver", "tiphys.local.apiserver", "the Kubernetes API"),
    Part("controllers", "tiphys.local.controllers", "scheduler, StatefulSets, Deployments, garbage"),
    Part("kubelet", "tiphys.local.kubelet", "pods as processes"),
    Part("proxy", "tiphys.local.proxy", "addresses of Services"),
    Part("operator", "tiphys.local.operator", "MySQL InnoDB clusters"),
    Part("engine", "tiphys.local.engine", "workflows"),
    Part("gateway", "tiphys.local.events", "webhooks and sensors"),
)
"""In starting order. S3 is first because building its server takes longest; it waits for the API by itself."""

FOUNDATION = ("s3", "apiserver")
"""What the pods' own processes still use while they end: these two are ended last."""


def by_name(name: str) -> Part:
    """Return the part called `name`."""
    return next(part for part in PARTS if part.name == name)
