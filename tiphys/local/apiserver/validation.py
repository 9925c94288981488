"""What the API server refuses in an object: missing and malformed fields, and changes of what may not change.

Not the whole of Kubernetes' validation: the rules that a wrong manifest or controller of this pack would break.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from tiphys.local.apiserver import innodbcluster
from tiphys.local.apiserver.errors import Cause, bad, forbidden_field, required
from tiphys.local.apiserver.metadata import is_label
from tiphys.local.apiserver.selectors import selector_matches
from tiphys.local.registry import Kind

_OBJECT_LIMIT = 1024 * 1024
"""Bytes of data in one Secret or ConfigMap, as in Kubernetes."""


def faults(kind: Kind, obj: dict[str, Any]) -> list[Cause]:
    """Return what is wrong with an object, its metadata aside."""
    check = _BY_PLURAL.get(kind.plural)
    found: list[Cause] = []
    for field in ("spec", "status"):
        if field in obj and not isinstance(obj[field], dict):
            found.append(bad(field, type(obj[field]).__name__, f"{field} must be an object"))
    return found or (check(obj) if check else [])


def update_faults(kind: Kind, old: dict[str, Any], new: dict[str, Any]) -> list[Cause]:
    """Return which changes between two versions of an object are not allowed."""
    if kind.plural in ("secrets", "configmaps"):
        return _frozen(old, new)
    was, spec = old.get("spec") or {}, new.get("spec") or {}
    if kind.plural == "pods":
        return _pod_changes(was, spec)
    if kind.plural == "statefulsets":
        changed = [key for key in sorted({*was, *spec} - _SET_MAY_CHANGE) if was.get(key) != spec.get(key)]
        if changed:
            allowed = "', '".join(sorted(_SET_MAY_CHANGE))
            why = f"updates to statefulset spec for fields other than '{allowed}' are forbidden"
            return [forbidden_field("spec", f"{why} (changed: {', '.join(changed)})")]
    if kind.plural in ("deployments", "replicasets") and was.get("selector") != spec.get("selector"):
        return [bad("spec.selector", str(spec.get("selector")), "field is immutable")]
    if kind.plural == "services" and was.get("clusterIP") not in (None, "", spec.get("clusterIP")):
        return [bad("spec.clusterIPs[0]", spec.get("clusterIP"), "may not change once set")]
    return []


_SET_MAY_CHANGE = {
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
}


def _pod(obj: dict[str, Any]) -> list[Cause]:
    return _pod_spec(obj.get("spec") or {}, "spec")


def _pod_spec(spec: dict[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    if not spec.get("containers"):
        found.append(required(f"{path}.containers"))
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        items = spec.get(field) or []
        if not isinstance(items, list):
            found.append(bad(f"{path}.{field}", type(items).__name__, "must be a list"))
            continue
        for index, container in enumerate(items):
            at = f"{path}.{field}[{index}]"
            if not isinstance(container, dict):
                found.append(bad(at, str(container), "must be an object"))
                continue
            found += [required(f"{at}.{key}") for key in ("name", "image") if not container.get(key)]
            if container.get("name") and not is_label(container["name"]):
                why = "must be a lowercase RFC 1123 label of at most 63 characters"
                found.append(bad(f"{at}.name", container["name"], why))
            if container.get("name") in names:
                found.append(Cause(f"{at}.name", "FieldValueDuplicate", f'Duplicate value: "{container["name"]}"'))
            names.add(str(container.get("name")))
            for number, variable in enumerate(container.get("env") or []):
                if not isinstance(variable, dict) or not variable.get("name"):
                    found.append(required(f"{at}.env[{number}].name"))
                elif not isinstance(variable.get("value", ""), str):
                    found.append(bad(f"{at}.env[{number}].value", variable["value"], "must be a string"))
    if spec.get("restartPolicy") not in ("Always", "OnFailure", "Never"):
        found.append(bad(f"{path}.restartPolicy", spec.get("restartPolicy"), "must be Always, OnFailure or Never"))
    volumes = {volume.get("name") for volume in spec.get("volumes") or [] if isinstance(volume, dict)}
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or []):
            for number, mount in enumerate(
                (container.get("volumeMounts") if isinstance(container, dict) else None) or []
            ):
                if mount.get("name") not in volumes:
                    at = f"{path}.{field}[{index}].volumeMounts[{number}].name"
                    found.append(Cause(at, "FieldValueNotFound", f'Not found: "{mount.get("name")}"'))
    return found


def _pod_changes(was: dict[str, Any], spec: dict[str, Any]) -> list[Cause]:
    """Allow what Kubernetes allows on a pod: images, deadlines, more tolerations, and binding it to a node once."""
    free = {"activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates"}
    if not was.get("nodeName"):
        free.add("nodeName")

    def fixed(pod_spec: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in pod_spec.items() if key not in free}
        for field in ("containers", "initContainers"):
            kept[field] = [
                {key: value for key, value in item.items() if key not in ("image", "imagePullPolicy")}
                for item in kept.get(field) or []
            ]
        return kept

    before, after = fixed(was), fixed(spec)
    changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    if not changed:
        return []
    why = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.terminationGracePeriodSeconds`,`spec.tolerations` "
        f"(changed: {', '.join(changed)})"
    )
    return [forbidden_field("spec", why)]


def _workload(obj: dict[str, Any]) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    template = spec.get("template")
    if not isinstance(template, dict):
        return [required("spec.template")]
    if not isinstance(spec.get("selector"), dict) or not spec["selector"]:
        found.append(required("spec.selector"))
    else:
        labels = (template.get("metadata") or {}).get("labels") or {}
        if not selector_matches(spec["selector"], labels):
            found.append(
                bad("spec.template.metadata.labels", str(labels), "`selector` does not match template `labels`")
            )
    replicas = spec.get("replicas")
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        found.append(bad("spec.replicas", replicas, "must be greater than or equal to 0"))
    # A StatefulSet's claim templates become volumes of its pods.
    claims = [
        claim.get("metadata") or {} for claim in spec.get("volumeClaimTemplates") or [] if isinstance(claim, dict)
    ]
    pod_spec = dict(template.get("spec") or {})
    pod_spec["volumes"] = [*(pod_spec.get("volumes") or []), *({"name": meta.get("name")} for meta in claims)]
    return found + _pod_spec(pod_spec, "spec.template.spec")


def _secret(obj: dict[str, Any]) -> list[Cause]:
    text = obj.pop("stringData", None) or {}
    data = obj.get("data") or {}
    if not isinstance(data, dict) or not isinstance(text, dict):
        return [bad("data", type(data).__name__, "must be a map")]
    found: list[Cause] = []
    for key, value in text.items():
        if not isinstance(value, str):
            found.append(bad(f"stringData[{key}]", value, "must be a string"))
        else:
            data[key] = base64.b64encode(value.encode()).decode()
    size = 0
    for key, value in data.items():
        # The value itself is never shown: this is where a password would be.
        try:
            size += len(base64.b64decode(value or "", validate=True))
        except (binascii.Error, ValueError, TypeError):
            found.append(bad(f"data[{key}]", "<hidden>", "must be base64; put plain text into stringData"))
    if size > _OBJECT_LIMIT:
        found.append(Cause("data", "FieldValueTooLong", f"Too long: may not be more than {_OBJECT_LIMIT} bytes"))
    if data and not found:
        obj["data"] = data
    return found


def _config_map(obj: dict[str, Any]) -> list[Cause]:
    data = obj.get("data") or {}
    if not isinstance(data, dict):
        return [bad("data", type(data).__name__, "must be a map")]
    found = [
        bad(f"data[{key}]", value, "must be a string; quote it in YAML")
        for key, value in data.items()
        if not isinstance(value, str)
    ]
    if not found and sum(len(key) + len(value) for key, value in data.items()) > _OBJECT_LIMIT:
        found.append(Cause("", "FieldValueTooLong", f"Too long: may not be more than {_OBJECT_LIMIT} bytes"))
    return found


def _frozen(old: dict[str, Any], new: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    if old.get("type") != new.get("type"):
        found.append(bad("type", new.get("type"), "field is immutable"))
    if old.get("immutable"):
        if not new.get("immutable"):
            found.append(forbidden_field("immutable", "field is immutable when `immutable` is set"))
        if old.get("data") != new.get("data"):
            found.append(forbidden_field("data", "field is immutable when `immutable` is set"))
    return found


def _service(obj: dict[str, Any]) -> list[Cause]:
    spec = obj.get("spec") or {}
    found: list[Cause] = []
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        found.append(required("spec.ports"))
    for index, port in enumerate(ports):
        number = port.get("port") if isinstance(port, dict) else None
        if not isinstance(number, int) or not 0 < number < 65536:
            found.append(bad(f"spec.ports[{index}].port", number, "must be between 1 and 65535, inclusive"))
        if len(ports) > 1 and isinstance(port, dict) and not port.get("name"):
            found.append(required(f"spec.ports[{index}].name"))
    return found


def _claim(obj: dict[str, Any]) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = [] if spec.get("accessModes") else [required("spec.accessModes", "at least 1 access mode is required")]
    if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
        found.append(required("spec.resources[storage]"))
    return found


def _budget(obj: dict[str, Any]) -> list[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        return [bad("spec", "", "minAvailable and maxUnavailable cannot be both set")]
    return []


def _event(obj: dict[str, Any]) -> list[Cause]:
    return [] if isinstance(obj.get("involvedObject"), dict) else [required("involvedObject")]


def _needs_spec(obj: dict[str, Any]) -> list[Cause]:
    return [] if isinstance(obj.get("spec"), dict) else [required("spec")]


_BY_PLURAL: dict[str, Callable[[dict[str, Any]], list[Cause]]] = {
    "pods": _pod,
    "statefulsets": _workload,
    "deployments": _workload,
    "replicasets": _workload,
    "secrets": _secret,
    "configmaps": _config_map,
    "services": _service,
    "persistentvolumeclaims": _claim,
    "poddisruptionbudgets": _budget,
    "events": _event,
    "innodbclusters": innodbcluster.faults,
    "workflows": _needs_spec,
    "workflowtemplates": _needs_spec,
    "clusterworkflowtemplates": _needs_spec,
    "cronworkflows": _needs_spec,
    "sensors": _needs_spec,
    "eventsources": _needs_spec,
}
