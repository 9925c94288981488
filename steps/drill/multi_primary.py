"""The note on a cluster that Tiphys has put into multi-primary mode: it keeps everything else away meanwhile.

It is not a drill's note: a cluster may stay in that mode for good, long after the workflow that switched it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from steps.errors import Refused, Temporary
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, NotFound

ANNOTATION = "tiphys.dev/topology"
"""On the InnoDBCluster."""
NAME = "multi-primary"
"""Stands in place of a fault where this note is read as an intent."""
SWITCHING, SETTLED = "switching", "settled"
TRIES = 20
"""How often a write is tried that another's came before: the operator writes to its clusters, too."""


@dataclass(frozen=True)
class Note:
    """What is known of a cluster in multi-primary mode.

    Attributes:
        workflow: whose run switched it.
        since: ISO time.
        primary: pod of the primary before.
        state: switching until it is verified, then settled.
        lifetime: as it was given ("30m"): then it goes back; empty where it stays.
        expires: ISO time at which it goes back; empty where it stays.
        numbers: auto_increment_increment and auto_increment_offset of each pod before; of those that were changed.
    """

    workflow: str
    since: str
    primary: str
    state: str = SWITCHING
    lifetime: str = ""
    expires: str = ""
    numbers: Mapping[str, list[int]] = field(default_factory=dict)

    @property
    def goes_back(self) -> bool:
        """Whether it is undone when its workflow ends: one with a lifetime, and one that was cut off half way."""
        return bool(self.lifetime) or self.state != SETTLED


def read(cluster: Object) -> Note | None:
    """Return the note on an InnoDBCluster, or None. One that cannot be read is nobody's, and stays until somebody asks.

    Nobody knows what it said, so nothing undoes it by itself; ``set-topology`` with mode=single-primary does.
    """
    text = (cluster["metadata"].get("annotations") or {}).get(ANNOTATION)
    if not text:
        return None
    try:
        values: Any = json.loads(text)
        known = {key: values[key] for key in Note.__dataclass_fields__ if key in values}
        numbers = {str(pod): [int(each) for each in pair] for pod, pair in known.pop("numbers", {}).items()}
        texts = {key: str(value) for key, value in known.items()}
        return Note(**{"workflow": "", "since": "", "primary": "", **texts}, numbers=numbers)
    except (ValueError, TypeError, AttributeError):
        return Note("", "", "", SETTLED)


def write(kube: Kube, cluster: str, note: Note) -> None:
    """Note it, in place of what was noted of the mode before.

    Raises:
        Refused: a drill or another runbook is noted on the cluster.
        Temporary: others kept writing to the cluster.
    """
    from steps.drill import intent

    for _ in range(TRIES):
        found = kube.cluster(cluster)
        drill = intent.read_drill(found)
        if drill is not None:
            raise Refused(intent.another_drill(cluster, drill))
        # With the version that was read: of a drill and this one that look at the same time only one gets through.
        try:
            _patch(kube, found, json.dumps(asdict(note), sort_keys=True))
        except Conflict:
            continue
        return
    raise Temporary(f"Cluster {cluster} took no note: others changed it at every one of {TRIES} tries. Try again.")


def remove(kube: Kube, cluster: str) -> None:
    """Take the note off; nothing where there is none.

    Raises:
        Temporary: others kept writing to the cluster.
    """
    for _ in range(TRIES):
        found = kube.find("innodbclusters", cluster)
        if found is None or read(found) is None:
            return
        try:
            _patch(kube, found, None)
        except (Conflict, NotFound):
            continue
        return
    raise Temporary(f"Cluster {cluster} kept its note: others changed it at every one of {TRIES} tries. Try again.")


def keeps_away(cluster: str, workflow: str, since: str, expires: str) -> str:
    """Return the message for whoever wants to do something to a cluster in multi-primary mode."""
    until = f", until {expires}" if expires else ""
    return (
        f"Cluster {cluster} is in multi-primary mode (set-topology, workflow {workflow or 'unknown'!r}, since "
        f"{since or 'nobody knows when'}{until}; annotation {ANNOTATION}): every member takes writes, so there is no "
        "primary to fail over from or to restart last. Go back first: "
        f"tiphys submit set-topology -p cluster={cluster} -p mode=single-primary --wait"
    )


def _patch(kube: Kube, found: Object, text: str | None) -> None:
    meta = found["metadata"]
    kube.patch(
        "innodbclusters",
        str(meta["name"]),
        {"metadata": {"annotations": {ANNOTATION: text}}},
        resource_version=str(meta["resourceVersion"]),
    )
