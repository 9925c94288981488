"""What a StatefulSet needs next: a function of the set, its pods and its claims.

Follows Kubernetes' StatefulSet controller. One thing is simpler: revisions are the template's hash, and old
templates are not kept, so a pod below ``partition`` that is replaced comes back with the new template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiphys.local.controllers.podstate import (
    is_deleted,
    is_finished,
    is_ready,
    labels,
    pod_from_template,
    template_hash,
)

Object = Mapping[str, Any]
REVISION = "controller-revision-hash"


@dataclass
class Plan:
    """What to do now; the next change of a pod asks again.

    Attributes:
        claims: PersistentVolumeClaims to create first.
        create: pods to create.
        delete: pods to delete, with the reason for the log.
    """

    claims: list[dict[str, Any]] = field(default_factory=list)
    create: list[dict[str, Any]] = field(default_factory=list)
    delete: list[tuple[Object, str]] = field(default_factory=list)


def ordinal_of(name: str, pod: Object) -> int | None:
    """Return the ordinal of a pod of the set `name`, None if its name is not of that form."""
    found = re.fullmatch(re.escape(name) + r"-(0|[1-9][0-9]*)", pod["metadata"]["name"])
    return int(found.group(1)) if found else None


def revision(owner: Object) -> str:
    """Return the name of the revision that the set's template is."""
    return f"{owner['metadata']['name']}-{template_hash(owner['spec']['template'])}"


def wanted_ordinals(owner: Object) -> range:
    """Return the ordinals that the set should have."""
    start = int((owner["spec"].get("ordinals") or {}).get("start") or 0)
    return range(start, start + replicas(owner))


def replicas(owner: Object) -> int:
    """Return the number of pods that the set should have."""
    wanted = owner["spec"].get("replicas")
    return 1 if wanted is None else int(wanted)


def plan(owner: Object, pods: Sequence[Object], claims: set[str]) -> Plan:
    """Return what to do next.

    Args:
        owner: the StatefulSet.
        pods: the pods that it controls.
        claims: names of the claims in its namespace.
    """
    result = Plan()
    if is_deleted(owner):
        return result
    name = owner["metadata"]["name"]
    by_ordinal = {number: pod for pod in pods if (number := ordinal_of(name, pod)) is not None}
    one_by_one = owner["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    wanted = wanted_ordinals(owner)
    for ordinal in wanted:
        pod = by_ordinal.get(ordinal)
        if pod is None:
            _create(owner, ordinal, result)
            _claims(owner, ordinal, claims, result)
        elif is_deleted(pod):
            pass  # its successor comes when it is gone
        elif is_finished(pod):
            result.delete.append((pod, f"it has ended ({pod['status']['phase']})"))
        else:
            _claims(owner, ordinal, claims, result)
            if is_ready(pod):
                continue
        if one_by_one:
            return result
    for ordinal in sorted((number for number in by_ordinal if number not in wanted), reverse=True):
        pod = by_ordinal[ordinal]
        if not is_deleted(pod):
            result.delete.append((pod, f"the set has {len(wanted)} replicas"))
        if one_by_one:
            return result
    if not result.create and not result.delete:
        _roll(owner, {number: by_ordinal[number] for number in wanted if number in by_ordinal}, result)
    return result


def status(owner: Object, pods: Sequence[Object]) -> dict[str, Any]:
    """Return the set's status as its pods stand."""
    update = revision(owner)
    living = [pod for pod in pods if not is_finished(pod)]
    updated = [pod for pod in living if labels(pod).get(REVISION) == update and not is_deleted(pod)]
    old = dict(owner.get("status") or {})
    rolled_out = len(updated) == len(living) == replicas(owner) and all(is_ready(pod) for pod in living)
    current = update if rolled_out or not old.get("currentRevision") else old["currentRevision"]
    ready = [pod for pod in living if is_ready(pod)]
    return old | {
        "observedGeneration": owner["metadata"].get("generation", 1),
        "replicas": len(living),
        "readyReplicas": len(ready),
        "availableReplicas": len(ready),
        "currentReplicas": sum(labels(pod).get(REVISION) == current for pod in living if not is_deleted(pod)),
        "updatedReplicas": len(updated),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": 0,
    }


def claim_name(template: Object, owner: Object, ordinal: int) -> str:
    """Return the name of the claim that a template gives the pod of `ordinal`."""
    return f"{template['metadata']['name']}-{owner['metadata']['name']}-{ordinal}"


def _roll(owner: Object, by_ordinal: Mapping[int, Object], result: Plan) -> None:
    """Delete the highest pod of an old revision, once every higher one is well."""
    strategy = owner["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    update = revision(owner)
    for ordinal in sorted(by_ordinal, reverse=True):
        pod = by_ordinal[ordinal]
        if ordinal >= partition and labels(pod).get(REVISION) != update:
            if not is_deleted(pod):
                result.delete.append((pod, f"it is to be replaced by revision {update}"))
            return
        if is_deleted(pod) or not is_ready(pod):
            return


def _create(owner: Object, ordinal: int, result: Plan) -> None:
    spec, meta = owner["spec"], owner["metadata"]
    name = f"{meta['name']}-{ordinal}"
    pod = pod_from_template(
        spec["template"],
        owner,
        {
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(ordinal),
            REVISION: revision(owner),
        },
    )
    pod["metadata"]["name"] = name
    pod["spec"]["hostname"] = name
    if spec.get("serviceName"):
        pod["spec"]["subdomain"] = spec["serviceName"]
    templates = spec.get("volumeClaimTemplates") or []
    own = {template["metadata"]["name"] for template in templates}
    volumes = [volume for volume in pod["spec"].get("volumes") or [] if volume["name"] not in own]
    for template in templates:
        claim = claim_name(template, owner, ordinal)
        volumes.append({"name": template["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim}})
    if volumes:
        pod["spec"]["volumes"] = volumes
    result.create.append(pod)


def _claims(owner: Object, ordinal: int, claims: set[str], result: Plan) -> None:
    for template in owner["spec"].get("volumeClaimTemplates") or []:
        name = claim_name(template, owner, ordinal)
        if name not in claims:
            result.claims.append(_claim(template, owner, name))


def _claim(template: Object, owner: Object, name: str) -> dict[str, Any]:
    selected = (owner["spec"].get("selector") or {}).get("matchLabels") or {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": {**(template["metadata"].get("labels") or {}), **selected},
            "annotations": dict(template["metadata"].get("annotations") or {}),
        },
        "spec": json.loads(json.dumps(template["spec"])),
    }
