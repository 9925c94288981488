"""Fields of a container that are not honoured here: an error that names them, never silence.

Left aside without an error are those that mean nothing for a process of one's own machine: resources,
securityContext, imagePullPolicy, ports (but for their names), terminationMessagePath, stdin and tty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.local.kubelet.launch import LaunchError

_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_ACTIONS = ("exec", "tcpSocket", "httpGet")


def check_container(spec: Mapping[str, Any]) -> None:
    """Look for what cannot be honoured.

    Raises:
        LaunchError: the container asks for it; the message has the field's path.
    """
    where = f"containers[{spec['name']}]"
    for field in ("volumeDevices", "restartPolicy", "workingDir"):
        if spec.get(field):
            raise LaunchError(f"{where}.{field} is not honoured on the local platform: leave it out")
    lifecycle = spec.get("lifecycle") or {}
    if lifecycle.get("postStart"):
        raise LaunchError(f"{where}.lifecycle.postStart is not honoured on the local platform: leave it out")
    for field in _PROBES:
        probe = spec.get(field)
        if probe and not any(action in probe for action in _ACTIONS):
            raise LaunchError(f"{where}.{field}: use one of {', '.join(_ACTIONS)}; others are not honoured")
    hook = lifecycle.get("preStop")
    if hook and not any(action in hook for action in (*_ACTIONS, "sleep")):
        raise LaunchError(f"{where}.lifecycle.preStop: use one of {', '.join(_ACTIONS)}, sleep")
