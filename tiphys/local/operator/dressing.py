"""Pods as they are on a real cluster, where one image of ours stands for Oracle's three.

The operator that is told so by ``TIPHYS_MYSQL_IMAGE`` (an image's name without its tag, which is MySQL's version) names
that image in the pods, with the role of each container as its command, and keeps to the restricted Pod Security level.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

IMAGE = "TIPHYS_MYSQL_IMAGE"
PROGRAM = "tiphys-mysql"
"""In the image: an init process and the entry point."""

USER = 65532
"""Whom the containers run as; the image knows the number by a name, which MySQL asks of whoever comes by its socket."""

POD = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "POD_UID": "metadata.uid",
    "POD_IP": "status.podIP",
}
"""What each container is told of its pod, and the field that it comes from."""

_ROLES = {"mysql": "server", "operator-backup-job": "backup"}
"""Of containers that are not named as their roles."""

_REQUESTS = {
    "initmysql": {"cpu": "500m", "memory": "64Mi"},
    "server": {"cpu": "500m", "memory": "400Mi"},
}
_OTHERS = {"cpu": "50m", "memory": "64Mi"}
"""A container that asks for nothing gets the least CPU there is on a busy node: members of a group that are starved so
lose sight of each other every few seconds (measured)."""


def dressed(pod: Mapping[str, Any], image: str | None = None) -> dict[str, Any]:
    """Return the spec of a pod of ours for where it is to run: as it is, or with our image.

    Args:
        pod: the spec with Oracle's images.
        image: ours without a tag; where None, what the operator was told, and empty on the local platform.
    """
    image = os.environ.get(IMAGE, "") if image is None else image
    if not image:
        return dict(pod)
    kinds = ("initContainers", "containers")
    return {
        **pod,
        **{kind: [_container(one, image) for one in pod[kind]] for kind in kinds if kind in pod},
        "volumes": [*(pod.get("volumes") or []), {"name": "tmp", "emptyDir": {}}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _container(container: Mapping[str, Any], image: str) -> dict[str, Any]:
    version = container["image"].rpartition(":")[2]
    role, command = _ROLES.get(container["name"], container["name"]), container.get("command") or []
    env = container.get("env") or []
    has = {item["name"] for item in env}
    told = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in POD.items() if name not in has
    ]
    return {
        **container,
        "image": f"{image}:{version}",
        "imagePullPolicy": "IfNotPresent",
        "command": [PROGRAM, role, *command[1:]],
        "env": [*env, *told],
        "resources": {"requests": _REQUESTS.get(role, _OTHERS)},
        "volumeMounts": [*(container.get("volumeMounts") or []), {"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
