"""What a pod of the pack may do on its node: nothing that the restricted Pod Security level forbids, and less.

Argo adds two containers of its own to each pod, `init` and `wait`. What they may do is the controller's setting; the
pack does not own the controller, so its templates say it of their own pods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hera.workflows.models import (
    Capabilities,
    EmptyDirVolumeSource,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
    Volume,
    VolumeMount,
)

from steps.declare import SCRATCH_VOLUME
from workflows import sizes

USER = 65532
"""User and group of every container of a step's pod; the image has no other, and nothing in it belongs to them."""

CONTAINER = SecurityContext(
    run_as_non_root=True,
    allow_privilege_escalation=False,
    read_only_root_filesystem=True,
    capabilities=Capabilities(drop=["ALL"]),
)

SCRATCH = VolumeMount(name=SCRATCH_VOLUME, mount_path="/tmp")
"""The one place that a step can write to: its outputs, its inputs and its temporary files are there."""

POD = PodSecurityContext(
    run_as_non_root=True, run_as_user=USER, run_as_group=USER, seccomp_profile=SeccompProfile(type="RuntimeDefault")
)

_ARGO = CONTAINER.model_dump(by_alias=True, exclude_none=True)

CONFINED: dict[str, Any] = {
    "security_context": POD,
    "pod_spec_patch": json.dumps(
        {
            "initContainers": [{"name": "init", "securityContext": _ARGO}],
            "containers": [{"name": "wait", "securityContext": _ARGO}],
        }
    ),
    "volumes": [Volume(name=SCRATCH_VOLUME, empty_dir=EmptyDirVolumeSource())],
}
"""Options of every WorkflowTemplate and CronWorkflow whose templates :func:`workflows.pack.container` makes."""


def events_pod(account: str | None = None, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return ``spec.template`` of an EventSource or a Sensor: confinement and size of the pod that Argo Events runs.

    Args:
        account: its service account; the namespace's default one where None.
        environment: variables of the pod.
    """
    container: dict[str, Any] = {"securityContext": _ARGO, "resources": sizes.EVENTS}
    if environment:
        container["env"] = [{"name": name, "value": value} for name, value in environment.items()]
    pod = {"securityContext": POD.model_dump(by_alias=True, exclude_none=True), "container": container}
    return pod | ({"serviceAccountName": account} if account else {})
