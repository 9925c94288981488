"""What a container becomes on this machine: a command, its environment and its working folder.

The kubelet writes the launch of every container that it starts into the pod's folder, readable to the owner
only, because three readers need it later: the kubelet's own probes and hooks, the API server's ``pods/exec``,
and a kubelet that was restarted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiphys.local.kubelet.processes import read_stat


class LaunchError(Exception):
    """A container cannot be started as its spec asks; the kubelet shows why and tries again.

    Attributes:
        reason: the waiting reason that Kubernetes would show, such as ``CreateContainerConfigError``.
    """

    def __init__(self, message: str, reason: str = "CreateContainerConfigError") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Launch:
    """A process to start for a container.

    Attributes:
        argv: the program and its arguments; a program without a slash is looked up in the environment's PATH.
        env: environment that the image brings. The kubelet lays it over its own minimal environment and the
            container's ``env`` over it, as a container runtime does with an image's ENV.
        cwd: working folder; the pod's file root when None.
        note: what whoever looks at the pod should know, told as an event when the container starts; empty for nothing.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    note: str = ""


def launch_file(home: Path, uid: str, container: str) -> Path:
    """Return the file that holds the launch of `container` as it was last started."""
    return home / "pods" / uid / f"{container}.launch.json"


def save_launch(home: Path, uid: str, container: str, launch: Launch) -> None:
    """Record `launch`, with its environment complete, for `exec_launch`."""
    path = launch_file(home, uid, container)
    text = json.dumps({"argv": list(launch.argv), "env": dict(launch.env), "cwd": str(launch.cwd)})
    descriptor = os.open(path.with_suffix(".tmp"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    path.with_suffix(".tmp").replace(path)


def main_process(home: Path, uid: str, container: str) -> int | None:
    """Return the process id of the container's main process, or None when none runs."""
    base = home / "pods" / uid / container
    try:
        shim = int(Path(f"{base}.shim").read_text().splitlines()[1].split(maxsplit=1)[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return main_pid(base, shim)


def main_pid(base: Path, shim: int) -> int | None:
    """Return the living process that ``<base>.pid`` names, if it is a child of the process `shim`.

    The shim has one child only, so its child of that number is the program and not a later namesake.
    """
    try:
        text = Path(f"{base}.pid").read_text()
        pid = int(text) if text.endswith("\n") else 0  # without its end it is still being written
    except (FileNotFoundError, ValueError):
        return None
    stat = read_stat(pid) if pid > 1 else None
    return pid if stat is not None and stat.alive and stat.parent == shim else None


def exec_env(home: Path, pod: Mapping[str, Any], container: str) -> dict[str, str]:
    """Return the environment for a command that runs inside `container` of `pod` (exec, probes, hooks).

    It is the environment of the container's own process, with TIPHYS_MAIN_PID added: locally the main process
    is not number 1, so a command that means "the container's process" needs to be told its number.

    Raises:
        LaunchError: the container was never started, so it has no environment yet.
    """
    return dict(exec_launch(home, pod, container, []).env)


def exec_launch(home: Path, pod: Mapping[str, Any], container: str, argv: Sequence[str]) -> Launch:
    """Return how to run `argv` inside `container` of `pod`: environment and folder of its own process.

    Raises:
        LaunchError: the container was never started.
    """
    uid = str(pod["metadata"]["uid"])
    try:
        saved = json.loads(launch_file(home, uid, container).read_text())
    except FileNotFoundError:
        name = f"{pod['metadata'].get('namespace')}/{pod['metadata'].get('name')}"
        raise LaunchError(
            f"container {container!r} of pod {name} has not been started yet: wait until it is running",
            reason="ContainerNotRunning",
        ) from None
    env = dict(saved["env"])
    if (pid := main_process(home, uid, container)) is not None:
        env["TIPHYS_MAIN_PID"] = str(pid)
    return Launch(list(argv), env, Path(saved["cwd"]))
