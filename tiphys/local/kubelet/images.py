"""Which image runs what on this machine: there is no registry, so an image's name chooses the program."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiphys.local.kubelet.environment import expand
from tiphys.local.kubelet.launch import Launch, LaunchError
from tiphys.local.settings import Settings, step_program

STEP = "ghcr.io/tiphys/step:"
MYSQL = "container-registry.oracle.com/mysql/community-"
WEBAPP = "ghcr.io/tiphys/webapp:"
HOST = "localhost/host:1"

KNOWN = (STEP + "*", MYSQL + "server:*", MYSQL + "router:*", MYSQL + "operator:*", WEBAPP + "*", HOST)


class UnknownImage(LaunchError):
    """No program here stands for the image."""

    def __init__(self, image: str) -> None:
        super().__init__(
            f"the local platform has no program for image {image!r}; it knows {', '.join(KNOWN)}",
            reason="ErrImagePull",
        )


def base_environment(pod: Mapping[str, Any], container_id: str, home: Path, root: Path, mark: str) -> dict[str, str]:
    """Return the variables that every container has, whatever its image.

    Args:
        pod: the pod.
        container_id: id of this run.
        home: the platform's folder.
        root: the pod's file root; also its HOME, so that no program finds the user's own configuration.
        mark: name of the variable that carries `container_id`.
    """
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(root),
        "LANG": "C.UTF-8",
        "HOSTNAME": pod["metadata"]["name"],
        "TIPHYS_PLATFORM": str(home),
        "TIPHYS_ROOT": str(root),
        mark: container_id,
    }


def launch(
    container: Mapping[str, Any],
    pod: Mapping[str, Any],
    mounts: Mapping[str, Path],
    home: Path,
    env: Mapping[str, str],
) -> Launch:
    """Return what to run for `container`.

    Args:
        container: its spec.
        pod: the pod, with ``status.podIP`` set.
        mounts: folder of each mount path.
        home: the platform's folder.
        env: the variables that the container's spec asks for, resolved.

    Raises:
        UnknownImage: the image is none of `KNOWN`.
        LaunchError: the image's program is not to be had, or the spec is not one that it can run.
    """
    image = container.get("image", "")
    plain = {
        **container,
        "command": [expand(word, env) for word in container.get("command") or []],
        "args": [expand(word, env) for word in container.get("args") or []],
        "env": [{"name": name, "value": value} for name, value in env.items()],
    }
    if image.startswith(STEP):
        return _step(plain, pod, home)
    if image.startswith(WEBAPP):
        return Launch([sys.executable, "-m", "tiphys.local.webapp", *plain["command"], *plain["args"]])
    if image == HOST:
        if not plain["command"] + plain["args"]:
            raise LaunchError(f"container {container['name']!r}: {HOST} has no command of its own; give one")
        return Launch(plain["command"] + plain["args"])
    if image.startswith(MYSQL):
        # Imported by name: the operator's images are a part of their own, and most pods never need them.
        images = importlib.import_module("tiphys.local.operator.images")
        made: Launch = images.launch(plain, dict(pod), dict(mounts), home)
        return made
    raise UnknownImage(image)


def _step(container: Mapping[str, Any], pod: Mapping[str, Any], home: Path) -> Launch:
    root = home / "pods" / pod["metadata"]["uid"] / "root"
    folders = {"STEP_OUTPUTS": root / "tmp/outputs", "STEP_INPUTS": root / "tmp/inputs", "TMPDIR": root / "tmp"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    argv = [*(container["command"] or ["step"]), *container["args"]]
    if argv[0] == "step":
        argv[0] = step_program()
    env = {name: str(folder) for name, folder in folders.items()} | {
        "KUBECONFIG": str(Settings.load(home).kubeconfig),
        "KUBERNETES_NAMESPACE": pod["metadata"]["namespace"],
        "POD_NAME": pod["metadata"]["name"],
    }
    return Launch(argv, env)
