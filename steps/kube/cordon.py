"""Cordons that can be taken back: whose a cordon is and what was before stands on the node, in the same write.

One write, with the version that was read: there is no moment at which a node is cordoned and does not say by whom, nor
one in which somebody else's cordon could be taken for ours.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from steps.errors import Refused, Temporary
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, NotFound
from steps.log import log

ANNOTATION = "tiphys.dev/cordoned"
"""On the Node."""
TRIES = 20
"""How often a write is tried that somebody else's came before: kubelets write to their nodes all the time."""


@dataclass(frozen=True)
class Cordon:
    """A drill's note on a node.

    Attributes:
        workflow: whose it is.
        namespace: of the workflow.
        since: ISO time.
        before: whether the node was cordoned already, so that it stays so.
        expires: as in :class:`steps.drill.intent.Intent`.
    """

    workflow: str
    namespace: str
    since: str
    before: bool = False
    expires: str = ""


def read(node: Object) -> Cordon | None:
    """Return the note on a node, or None. One that cannot be read is nobody's, and its node stays as it is."""
    text = (node["metadata"].get("annotations") or {}).get(ANNOTATION)
    if not text:
        return None
    try:
        values = json.loads(text)
        note = Cordon(**{key: values[key] for key in Cordon.__dataclass_fields__ if key in values})
        if not all(isinstance(each, str) for each in (note.workflow, note.namespace, note.since, note.expires)):
            raise TypeError(f"a cordon's note has {values!r}")
        return replace(note, before=note.before is not False)
    except (ValueError, TypeError):
        return Cordon("", "", "", before=True)


def is_cordoned(node: Object) -> bool:
    """Tell whether no pod may be placed on the node."""
    return bool((node.get("spec") or {}).get("unschedulable"))


def cordon(kube: Kube, name: str, note: Cordon) -> Cordon:
    """Cordon a node and note whose cordon it is; one that is ours already stays as it was noted first.

    Returns:
        The note as it is on the node: its `before` says whether somebody else had cordoned it.

    Raises:
        Refused: another drill has its note on the node.
        Temporary: others kept writing to the node.
    """
    for _ in range(TRIES):
        node = kube.get("nodes", name)
        there = read(node)
        if there is not None and (there.workflow, there.namespace) != (note.workflow, note.namespace):
            raise Refused(
                f"Node {name} carries the note of workflow {there.workflow!r} in namespace {there.namespace!r} "
                f"(annotation {ANNOTATION}): wait for it to end, or let reap clear it away."
            )
        if there is not None and is_cordoned(node):
            return there
        made = there or Cordon(note.workflow, note.namespace, note.since, is_cordoned(node), note.expires)
        try:
            _write(kube, node, json.dumps(asdict(made), sort_keys=True), cordoned=True)
        except Conflict:
            continue
        log("cordoned", node=name, before=made.before)
        return made
    raise Temporary(f"Node {name} could not be cordoned: others changed it at every one of {TRIES} tries. Try again.")


def release(kube: Kube, name: str, workflow: str) -> str:
    """Uncordon a node if this workflow cordoned it, and take its note off; can be called again and again.

    Args:
        kube: of the workflow's namespace.
        name: of the node.
        workflow: whose cordon is taken back; any other's is left alone.

    Returns:
        What was done, for people; empty where there was nothing to do.

    Raises:
        Temporary: others kept writing to the node.
    """
    for _ in range(TRIES):
        try:
            node = kube.get("nodes", name)
        except NotFound:
            return ""
        note = read(node)
        if note is None or (note.workflow, note.namespace) != (workflow, kube.namespace):
            return ""
        try:
            _write(kube, node, None, cordoned=note.before and is_cordoned(node))
        except Conflict:
            continue
        kept = "stays cordoned, as it was before the drill" if note.before else "uncordoned"
        return f"node {name}: {kept}"
    raise Temporary(f"Node {name} could not be uncordoned: others changed it at every one of {TRIES} tries. Try again.")


def noted(kube: Kube) -> list[tuple[str, Cordon]]:
    """Return the nodes with a note of a workflow of this client's namespace, and the notes."""
    found = [(str(node["metadata"]["name"]), read(node)) for node in kube.all("nodes")]
    return [(name, note) for name, note in found if note is not None and note.namespace == kube.namespace]


def _write(kube: Kube, node: Object, note: str | None, *, cordoned: bool) -> None:
    kube.patch(
        "nodes",
        str(node["metadata"]["name"]),
        {"metadata": {"annotations": {ANNOTATION: note}}, "spec": {"unschedulable": True if cordoned else None}},
        resource_version=str(node["metadata"]["resourceVersion"]),
    )
