"""What a drill is about to change, written down before it is changed: in the book of drills, and on the cluster.

The annotation outlives the workflow that wrote it. Whoever finds it knows that a drill is under way, whose it is, and
what was there before; `drill-undo` and `reap` put things back from it, or from the book where the cluster is gone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from steps.drill import book, multi_primary
from steps.errors import Refused, StepError, Temporary
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, NotFound
from steps.log import log

ANNOTATION = "tiphys.dev/drill"
"""On the InnoDBCluster."""
TRIES = 20
"""How often a write is tried that another's came before: the operator writes to its clusters, too."""


@dataclass(frozen=True)
class Intent:
    """A drill's note to the world.

    Attributes:
        workflow: whose drill it is.
        fault: its name.
        since: ISO time.
        before: what the fault needs to put things back.
        expires: ISO time after which a drill that runs outside any workflow counts as gone; empty within a workflow,
            whose own phase tells.
    """

    workflow: str
    fault: str
    since: str
    before: dict[str, Any] = field(default_factory=dict)
    expires: str = ""


def read(cluster: Object) -> Intent | None:
    """Return what keeps others away from an InnoDBCluster: a drill's intent, or that it is multi-primary; or None."""
    if (drill := read_drill(cluster)) is not None:
        return drill
    note = multi_primary.read(cluster)
    return None if note is None else Intent(note.workflow, multi_primary.NAME, note.since, expires=note.expires)


def read_drill(cluster: Object) -> Intent | None:
    """Return the intent on an InnoDBCluster, or None. A note that cannot be read is an intent of nobody."""
    text = (cluster["metadata"].get("annotations") or {}).get(ANNOTATION)
    if not text:
        return None
    try:
        return of_values(json.loads(text))
    except (ValueError, TypeError):
        return Intent("", "", "")


def of_values(values: Any) -> Intent:
    """Return an intent from what was written of it.

    Raises:
        TypeError: it is not of the kind that is written: somebody has spoilt it.
    """
    if not isinstance(values, dict):
        raise TypeError(f"an intent is an object, not {values!r}")
    known = {key: values[key] for key in Intent.__dataclass_fields__ if key in values}
    for key, value in known.items():
        if not isinstance(value, dict if key == "before" else str):
            raise TypeError(f"{key} of an intent is {value!r}")
    return Intent(**{"workflow": "", "fault": "", "since": "", **known})


def write(kube: Kube, cluster: str, intent: Intent) -> None:
    """Note an intent in the book of drills, and then on the cluster.

    Raises:
        Refused: another drill has noted its own.
        BadParameters: there is no book.
        Conflict: the cluster changed meanwhile; look again.
    """
    found = kube.cluster(cluster)
    other = read(found)
    if other is not None and other.workflow != intent.workflow:
        raise Refused(another_drill(cluster, other))
    book.enter(kube, cluster, intent)
    values = {key: value for key, value in asdict(intent).items() if value or key == "before"}
    # With the version that was read: of two drills that look at the same time only one gets through.
    try:
        kube.patch(
            "innodbclusters",
            cluster,
            {"metadata": {"annotations": {ANNOTATION: json.dumps(values, sort_keys=True)}}},
            resource_version=str(found["metadata"]["resourceVersion"]),
        )
    except StepError:
        book.strike(kube, intent.workflow)
        raise


def remove(kube: Kube, cluster: str, workflow: str) -> None:
    """Take a workflow's note out of the book, and off the cluster. Another's note stays; nothing where there is none.

    The note on the cluster goes last: as long as it is there, no other drill begins.

    Raises:
        Temporary: others kept writing to the cluster.
    """
    book.strike(kube, workflow)
    for _ in range(TRIES):
        found = kube.find("innodbclusters", cluster)
        noted = None if found is None else read_drill(found)
        if found is None or noted is None or noted.workflow != workflow:
            return
        # With the version that was read: two may undo one drill, and the next drill begins when the first is done.
        version = str(found["metadata"]["resourceVersion"])
        try:
            patch = {"metadata": {"annotations": {ANNOTATION: None}}}
            kube.patch("innodbclusters", cluster, patch, resource_version=version)
        except (Conflict, NotFound):
            continue
        return
    raise Temporary(f"Cluster {cluster} kept its note: others changed it at every one of {TRIES} tries. Try again.")


def try_to_remove(kube: Kube, cluster: str, workflow: str) -> None:
    """Take a workflow's note off; what cannot be done now is done by the exit handler, or by reap."""
    try:
        remove(kube, cluster, workflow)
    except StepError as error:
        log("note-left", cluster=cluster, why=str(error))


def another_drill(cluster: str, other: Intent) -> str:
    """Return the message for a cluster on which another drill is noted."""
    if other.fault == multi_primary.NAME:
        return multi_primary.keeps_away(cluster, other.workflow, other.since, other.expires)
    whose = f"workflow {other.workflow!r} since {other.since}" if other.workflow else "somebody unknown"
    return (
        f"Cluster {cluster} has a drill of {whose} noted on it (annotation {ANNOTATION}). Wait for it to end; if it is "
        f"gone, the CronWorkflow reap clears the note within minutes, or run: step drill-undo "
        f"--namespace NAMESPACE --cluster {cluster} --workflow {other.workflow or 'NAME'}"
    )


def now() -> str:
    """Return the time as it is written into an intent."""
    return datetime.now(UTC).isoformat(timespec="seconds")
