"""The shape of objects: which fields are lists of objects and which are maps, wherever they occur.

Checked before anything else looks into an object, so that the rules after it need not doubt every step.
"""

from __future__ import annotations

from typing import Any

from tiphys.local.apiserver.errors import Cause
from tiphys.local.registry import Kind

_OBJECT_LISTS = frozenset(
    (
        *("containers", "initContainers", "ephemeralContainers", "env", "envFrom", "ports", "volumes"),
        *("volumeMounts", "volumeDevices", "tolerations", "conditions", "readinessGates", "matchExpressions"),
        *("volumeClaimTemplates", "imagePullSecrets", "hostAliases", "containerStatuses", "subsets"),
        *("initContainerStatuses", "topologySpreadConstraints", "ownerReferences", "managedFields"),
    )
)
_MAPS = frozenset(
    (
        *("spec", "status", "metadata", "template", "selector", "matchLabels", "labels", "annotations"),
        *("resources", "requests", "limits", "securityContext", "affinity", "nodeSelector", "involvedObject"),
        *("source", "disruptedPods", "updateStrategy", "strategy", "valueFrom", "state", "lastState"),
        *("livenessProbe", "readinessProbe", "startupProbe", "httpGet", "lifecycle"),
    )
)
_TEXTS = frozenset(("name", "namespace", "generateName", "uid", "resourceVersion", "clusterIP", "nodeName"))
_NUMBERS = frozenset(
    (
        *("replicas", "disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"),
        *("observedGeneration", "restartCount", "terminationGracePeriodSeconds", "readyReplicas"),
    )
)
_OPAQUE = frozenset(("rules", "data", "stringData", "binaryData", "fieldsV1", "schema"))
"""Fields whose inside follows other rules: RBAC's `resources` is a list of texts, data and
schemas hold any key."""


def shape_faults(kind: Kind, obj: dict[str, Any]) -> list[Cause]:
    """Return which fields of an object are of the wrong type; of a custom kind, in its metadata only."""
    if kind.custom:
        found = [] if isinstance(obj.get("spec", {}), dict) else [_wrong("spec", obj["spec"], "an object")]
        return found + _walk(obj["metadata"], "metadata")
    return _walk(obj, "")


def _walk(value: Any, path: str) -> list[Cause]:
    found: list[Cause] = []
    for name, inner in value.items():
        at = f"{path}.{name}" if path else name
        if inner is None or name in _OPAQUE or (name == "status" and path):
            continue  # a condition's status is a text
        if path.endswith(("labels", "annotations", "matchLabels", "requests", "limits", "nodeSelector")):
            continue
        if name in _OBJECT_LISTS:
            if isinstance(inner, list) and all(isinstance(item, dict) for item in inner):
                for index, item in enumerate(inner):
                    found += _walk(item, f"{at}[{index}]")
            else:
                found.append(_wrong(at, inner, "a list of objects"))
        elif name in _MAPS and not isinstance(inner, dict):
            found.append(_wrong(at, inner, "an object"))
        elif name in _TEXTS and not isinstance(inner, str):
            found.append(_wrong(at, inner, "a string"))
        elif name in _NUMBERS and type(inner) is not int:
            found.append(_wrong(at, inner, "a whole number"))
        elif isinstance(inner, dict):
            found += _walk(inner, at)
    return found


def _wrong(path: str, value: Any, wanted: str) -> Cause:
    seen = {dict: "object", list: "list", str: "string", bool: "boolean"}.get(type(value), "number")
    return Cause(path, "FieldValueTypeInvalid", f'Invalid value: "{seen}": must be {wanted}')
