"""What must hold before a drill may touch a cluster: functions of facts, which tell all refusals at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steps.drill.fault import Fault, Scene
from steps.drill.intent import Intent, another_drill, read
from steps.errors import Refused
from steps.kube.client import Kube, Object
from steps.mysql.connection import root_credentials
from steps.mysql.topology import Topology, read_topology

ALLOWED_LABEL = "tiphys.dev/drills"
ENVIRONMENT_LABEL = "tiphys.dev/environment"
SETTINGS = "tiphys-settings"


@dataclass(frozen=True)
class Facts:
    """What the guards look at.

    Attributes:
        cluster: name.
        workflow: of the drill that asks.
        labels: of the InnoDBCluster.
        drills: value of key `drills` in ConfigMap tiphys-settings; None where there is no such key.
        topology: the group now.
        routers_ready: Router pods that are Ready.
        routers_wanted: Router pods that the cluster asks for.
        intent: of a drill noted on the cluster, or None.
        allow_outage: whether a person has allowed a fault that stops the cluster.
    """

    cluster: str
    workflow: str
    labels: dict[str, str]
    drills: str | None
    topology: Topology
    routers_ready: int
    routers_wanted: int
    intent: Intent | None = None
    allow_outage: bool = False

    @property
    def production(self) -> bool:
        """Whether somebody has to approve."""
        return self.labels.get(ENVIRONMENT_LABEL) == "production"


def switched_off(drills: str | None) -> bool:
    """Tell whether the kill switch is thrown: any value but "on" or nothing at all does it."""
    return drills is not None and drills.strip().lower() != "on"


def switch_text(drills: str | None) -> str:
    """Say what the thrown kill switch is set to, for people; a value that means nothing is told as such."""
    value = (drills or "").strip().lower()
    strange = "" if value == "off" else f": {drills!r} is neither on nor off, and treated as off"
    return f"the kill switch is thrown (ConfigMap {SETTINGS}, drills: {drills!r}{strange})"


def refusals(facts: Facts, fault: Fault) -> list[str]:
    """Return every reason not to inject `fault` now, in sentences that end with what to do; empty when it is safe."""
    found = []
    cluster, topology = facts.cluster, facts.topology
    if facts.labels.get(ALLOWED_LABEL) != "allowed":
        seen = facts.labels.get(ALLOWED_LABEL)
        has = f"has no label {ALLOWED_LABEL}" if seen is None else f"has label {ALLOWED_LABEL} {seen!r}"
        found.append(
            f"cluster {cluster} is not open to drills (it {has}, expected 'allowed'): "
            f"kubectl label innodbcluster {cluster} {ALLOWED_LABEL}=allowed"
        )
    if switched_off(facts.drills):
        found.append(f"{switch_text(facts.drills)}: set it to 'on'")
    if facts.intent is not None and facts.intent.workflow != facts.workflow:
        found.append(another_drill(cluster, facts.intent))
    if not topology.is_whole:
        silent = "; ".join(f"{pod}: {why}" for pod, why in topology.unreachable.items())
        found.append(
            f"the group is not whole ({topology.summary()}{'; ' + silent if silent else ''}), expected "
            f"{topology.expected}/{topology.expected} ONLINE with one primary: run check-cluster"
        )
    else:
        found += fault.guard(topology)
    majority = topology.expected // 2 + 1
    if fault.outage:
        if not facts.allow_outage:
            found.append(
                f"fault {fault.name} stops the whole cluster: no quorum is left, and nobody can write until the "
                "operator has repaired the group. If that is wanted, a person gives allow-outage=true"
            )
    elif fault.removes_member and topology.expected - 1 < majority:
        found.append(
            f"without one of its {topology.expected} servers the group has no quorum ({majority} needed): "
            "scale the cluster to 3 servers or more"
        )
    if facts.routers_wanted < 1:
        found.append("the cluster has no Router, so there is no client's way to measure: scale it to 1 router or more")
    elif facts.routers_ready < facts.routers_wanted:
        found.append(f"only {facts.routers_ready} of {facts.routers_wanted} routers are ready: wait, or look at theirs")
    return found


def told_plan(facts: Facts, fault: Fault, what: str, *, dry_run: bool) -> str:
    """Return what a drill that no guard refuses does, and what the guards saw, in plain sentences.

    Args:
        facts: that the guards looked at.
        fault: to inject.
        what: the fault's own description of what it does.
        dry_run: whether it is only told.
    """
    topology = facts.topology
    expected, switch = topology.expected, "not set" if facts.drills is None else "on"
    left = expected - fault.removed(topology)
    outage = ": an outage, which allow-outage allows" if fault.outage else ""
    checked = [
        f"the cluster is labelled {ALLOWED_LABEL}=allowed",
        f"the kill switch (ConfigMap {SETTINGS}, drills) is {switch}",
        f"the group is whole ({topology.summary()})",
        f"the fault leaves {left} of {expected} servers, {expected // 2 + 1} are a quorum{outage}",
        f"{facts.routers_ready} of {facts.routers_wanted} routers are ready",
        "no other drill is noted on the cluster",
    ]
    approval = " It waits for an approval first, for it is a production cluster." if facts.production else ""
    begin = "Dry run, nothing was changed. This drill would do on" if dry_run else "This drill does on"
    return f"{begin} cluster {facts.cluster}: {what}.{approval} Checked: {'; '.join(checked)}."


def is_ready(pod: Object) -> bool:
    """Tell whether a pod's condition Ready is true."""
    conditions: list[dict[str, Any]] = pod.get("status", {}).get("conditions") or []
    return any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)


def drills_setting(kube: Kube) -> str | None:
    """Return the value of the kill switch, None where there is none."""
    settings = kube.find("configmaps", SETTINGS) or {}
    value = (settings.get("data") or {}).get("drills")
    return None if value is None else str(value)


def look(kube: Kube, cluster: str, workflow: str, *, allow_outage: bool = False) -> tuple[Facts, Scene]:
    """Look at everything the guards need.

    Args:
        kube: client.
        cluster: name.
        workflow: of the drill that asks.
        allow_outage: whether a person has allowed a fault that stops the cluster.

    Raises:
        BadParameters: there is no such cluster.
    """
    found = kube.cluster(cluster)
    credentials = root_credentials(kube, found)
    facts = Facts(
        cluster=cluster,
        workflow=workflow,
        labels=dict(found["metadata"].get("labels") or {}),
        drills=drills_setting(kube),
        topology=read_topology(kube, cluster, credentials=credentials),
        routers_ready=sum(is_ready(pod) for pod in kube.routers(cluster)),
        routers_wanted=int((found["spec"].get("router") or {}).get("instances", 0)),
        intent=read(found),
        allow_outage=allow_outage,
    )
    return facts, Scene(kube, cluster, credentials, workflow)


def require_safe(facts: Facts, fault: Fault) -> None:
    """Raise Refused with every reason there is."""
    if reasons := refusals(facts, fault):
        raise Refused.because(reasons)
