"""What an install would do to each object, found out by asking the API server, which changes nothing meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tiphys.install import applyset
from tiphys.install.kube import MANAGER, Kube, shown
from tiphys.runs.errors import Conflict, NotFound, ToolError

Object = dict[str, Any]
CREATE, CHANGE, KEEP, DELETE = "created", "changed", "unchanged", "removed"
THREADS = 8


@dataclass(frozen=True)
class Change:
    """What becomes of one object.

    Attributes:
        action: `CREATE`, `CHANGE`, `KEEP` or `DELETE`.
        wanted: what is applied; what is there, for one that is removed.
        before: as it is; None if it is not there yet.
        after: as it will be, by the API server's own word; as wanted where it could not be asked.
        conflicts: fields that somebody else has set to something else.
        left: values that people have set, and that stay theirs.
    """

    action: str
    wanted: Object
    before: Object | None
    after: Object
    conflicts: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return kind and name."""
        return shown(self.wanted)


@dataclass(frozen=True)
class Plan:
    """What an install would do.

    Attributes:
        changes: in the order in which they are made.
        parent: the set's parent as it is; None before the first install.
    """

    changes: list[Change] = field(default_factory=list)
    parent: Object | None = None

    def by(self, action: str) -> list[Change]:
        """Return the changes of one kind."""
        return [one for one in self.changes if one.action == action]

    @property
    def conflicts(self) -> list[str]:
        """Return a line for each conflict."""
        return [f"{one.name}: {text}" for one in self.changes for text in one.conflicts]

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing would change."""
        return len(self.by(KEEP)) == len(self.changes)


def make(kube: Kube, objects: list[Object], *, force: bool, report: Callable[[int, int], None]) -> Plan:
    """Return what applying `objects` would do, and which members are no longer among them.

    Args:
        kube: the cluster.
        objects: the pack's, in order.
        force: whether others' fields are taken over.
        report: called with how many of how many objects have been looked at.

    Raises:
        ToolError: an object belongs to another installation, or the API server refuses one.
    """
    namespace = kube.namespace
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    there = kube.find(space) is not None
    parent = kube.find(applyset.parent(namespace, (), {})) if there else None
    wanted = [applyset.member(one, namespace) for one in objects]
    changes = []
    with ThreadPoolExecutor(THREADS) as pool:
        for change in pool.map(lambda one: _change(kube, one, there, force), wanted):
            changes.append(change)
            report(len(changes), len(wanted))
    return Plan([*changes, *stale(kube, parent, wanted)], parent)


def stale(kube: Kube, parent: Object | None, wanted: Iterable[Object]) -> list[Change]:
    """Return the removal of the members that an older version had and this one has not."""
    names = {(*applyset.group_kind(one), one["metadata"]["name"]) for one in wanted}
    return [
        Change(DELETE, one, one, {})
        for one in members(kube, applyset.kinds_of(parent))
        # The token and the keys come from the person, not from the pack.
        if one["kind"] not in ("Secret", "Namespace")
        and not (one["metadata"].get("annotations") or {}).get(GIVEN)
        and (*applyset.group_kind(one), one["metadata"]["name"]) not in names
    ]


GIVEN = "tiphys.dev/given"
"""Annotation of what an install made of a person's own values: it stays until the installation goes."""


def members(kube: Kube, kinds: Iterable[applyset.GroupKind]) -> list[Object]:
    """Return all that is part of the installation, of certain kinds."""
    found = []
    versions = kube.preferred()
    selector = f"{applyset.PART_OF}={applyset.set_id(kube.namespace)}"
    for group, kind in sorted(kinds):
        resources = [one for one in kube.of_version(versions.get(group, "none/v0")) if one.kind == kind]
        for resource in resources:
            try:
                listed = kube.all(resource, selector)
            except NotFound:
                continue
            found += [one for one in listed if applyset.is_member(one, kube.namespace)]
    return found


def _change(kube: Kube, wanted: Object, namespace_there: bool, force: bool) -> Change:
    # Without its namespace the API server cannot be asked about an object, but then it is new for certain.
    in_namespace = kube.resource(wanted["apiVersion"], wanted["kind"]).namespaced
    before = kube.find(wanted) if namespace_there or not in_namespace else None
    if before is not None:
        _check_owner(before, kube.namespace)
        if wanted["kind"] == "Namespace" and not applyset.owner(before):
            # Somebody made it, and will want to keep it.
            return Change(KEEP, wanted, before, before)
    elif in_namespace and not namespace_there:
        return Change(CREATE, wanted, None, wanted)
    wanted, left = yielding(wanted, before)
    conflicts: tuple[str, ...] = ()
    try:
        after = kube.apply(wanted, force=force, dry_run=True)
    except Conflict as error:
        conflicts = tuple(f"{one['field']}: {one['message']}" for one in error.causes) or (error.message,)
        # What it would become all the same, for the diff; if even that is refused, there is more than a conflict.
        after = kube.apply(wanted, force=True, dry_run=True)
    except ToolError as error:
        raise type(error)(f"{shown(wanted)}: {error.message}") from error
    if before is None:
        return Change(CREATE, wanted, None, after)
    same = _essence(before) == _essence(after)
    return Change(KEEP if same and not conflicts else CHANGE, wanted, before, after, conflicts, left)


def _check_owner(before: Object, namespace: str) -> None:
    if (owner := applyset.owner(before)) and owner != applyset.set_id(namespace):
        raise ToolError(
            f"{shown(before)} belongs to another installation ({applyset.PART_OF}={owner}); a cluster has one "
            "installation, since its cluster roles are one another's. Uninstall that one first, or use its namespace"
        )


def _essence(one: Object) -> str:
    """Return what makes an object what it is: everything but its version, status, and when its fields were set."""
    kept = {key: value for key, value in one.items() if key != "status"}
    meta = {key: value for key, value in one["metadata"].items() if key not in ("resourceVersion", "generation")}
    meta["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in meta.get("managedFields") or []
        if entry.get("manager") == MANAGER
    ]
    return json.dumps({**kept, "metadata": meta}, sort_keys=True)


def yielding(wanted: Object, before: Object | None) -> tuple[Object, tuple[str, ...]]:
    """Return a ConfigMap without the values that somebody else has set, and those values' names.

    They are there for people to change: an upgrade must not throw the kill switch back.
    """
    if wanted["kind"] != "ConfigMap" or before is None:
        return wanted, ()
    now, data = before.get("data") or {}, wanted.get("data") or {}
    owned = {
        key.removeprefix("f:")
        for entry in before["metadata"].get("managedFields") or []
        if entry.get("manager") != MANAGER
        for key in (entry.get("fieldsV1") or {}).get("f:data") or {}
    }
    theirs = [key for key in data if key in owned and key in now]
    if not theirs:
        return wanted, ()
    kept = {key: value for key, value in data.items() if key not in theirs}
    return {**wanted, "data": kept}, tuple(f"{key}: {now[key]!r}" for key in theirs if now[key] != data[key])
