"""The book of drills: a ConfigMap with an entry for each that is under way, made before it changes anything.

The note on the InnoDBCluster (:mod:`steps.drill.intent`) goes when somebody deletes the cluster in the middle of a
drill; this entry stays, and `reap` undoes the drill from it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from steps.errors import BadParameters, Temporary
from steps.kube.client import Kube
from steps.kube.errors import Conflict

if TYPE_CHECKING:
    from steps.drill.intent import Intent

BOOK = "tiphys-drills"
"""The ConfigMap; its keys are the names of workflows. The pack's manifests bring it."""
TRIES = 20
"""How often a write is tried that another drill's came before."""


@dataclass(frozen=True)
class Entry:
    """One drill in the book.

    Attributes:
        cluster: that it is done to; it may be gone.
        intent: what was noted; of nobody where it cannot be read.
    """

    cluster: str
    intent: Intent


def enter(kube: Kube, cluster: str, intent: Intent) -> None:
    """Write a drill into the book, in place of what an earlier attempt of the same workflow wrote.

    Raises:
        BadParameters: there is no book.
        Temporary: others kept writing to it.
    """
    text = json.dumps({"cluster": cluster, **asdict(intent)}, sort_keys=True)
    if not _change(kube, intent.workflow, text):
        raise BadParameters(
            f"Namespace {kube.namespace} has no ConfigMap {BOOK}, in which a drill is written down before it changes "
            "anything: apply the pack's manifests (manifests/base)."
        )


def strike(kube: Kube, workflow: str) -> None:
    """Remove a drill from the book; nothing where it is not in it."""
    _change(kube, workflow, None)


def find(kube: Kube, workflow: str) -> Entry | None:
    """Return a workflow's entry, or None."""
    return next((entry for entry in entries(kube) if entry.intent.workflow == workflow), None)


def entries(kube: Kube) -> list[Entry]:
    """Return every drill in the book, by its workflow's name."""
    found = kube.find("configmaps", BOOK) or {}
    return [_entry(key, str(text)) for key, text in sorted((found.get("data") or {}).items())]


def _entry(workflow: str, text: str) -> Entry:
    from steps.drill.intent import Intent, of_values

    try:
        values = json.loads(text)
        # Its key says whose it is, so an entry that somebody has spoilt is struck out, too.
        return Entry(str(values.get("cluster", "")), replace(of_values(values), workflow=workflow))
    except (ValueError, TypeError, AttributeError):
        return Entry("", Intent(workflow, "", ""))


def _change(kube: Kube, workflow: str, text: str | None) -> bool:
    """Set or remove one key, with the version that was read; tell whether there is a book at all."""
    for _ in range(TRIES):
        found = kube.find("configmaps", BOOK)
        if found is None:
            return False
        if (found.get("data") or {}).get(workflow) == text:
            return True
        change: dict[str, Any] = {"data": {workflow: text}}
        try:
            kube.patch("configmaps", BOOK, change, resource_version=str(found["metadata"]["resourceVersion"]))
        except Conflict:
            continue
        return True
    raise Temporary(
        f"ConfigMap {BOOK} could not be written: others changed it at every one of {TRIES} tries. Try again."
    )
