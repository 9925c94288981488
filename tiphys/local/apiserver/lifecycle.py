"""Create, update and delete as Kubernetes means them: versions, generations, grace, finalizers, preconditions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tiphys.local.apiserver import defaults, validation
from tiphys.local.apiserver.errors import (
    already_exists,
    bad,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from tiphys.local.apiserver.metadata import carry_over, metadata_faults, name_from, stamp_new
from tiphys.local.apiserver.shapes import shape_faults
from tiphys.local.apiserver.store import Record, Store
from tiphys.local.registry import Kind, by_plural

NAMESPACES = by_plural("namespaces")
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


@dataclass(frozen=True)
class DeleteOptions:
    """What the body (or the query) of a DELETE says.

    Attributes:
        grace: seconds a pod may take to stop; None means what the pod itself says.
        propagation: Background, Foreground or Orphan; empty leaves what an earlier deletion said.
        uid: the deletion is meant for this uid only.
        version: the deletion is meant for this resource version only.
    """

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    version: str = ""


@dataclass(frozen=True)
class Deleted:
    """The outcome of a deletion: the object's last or present state, and whether it is gone."""

    obj: dict[str, Any]
    gone: bool


class Lifecycle:
    """The rules between a request and the store; `dry` runs go through all of them and change nothing."""

    def __init__(self, store: Store, services: defaults.ServiceAddresses):
        self.store = store
        self._services = services

    def create(self, kind: Kind, namespace: str | None, obj: dict[str, Any], dry: bool = False) -> dict[str, Any]:
        """Store a new object and return it.

        Raises:
            ApiError: 404 without its namespace, 403 in one that is ending, 409 if the name is taken, 422 if
                the object is not valid.
        """
        meta = _check_identity(kind, namespace, None, obj)
        _check_shape(kind, obj)
        if kind.namespaced:
            self._check_namespace(kind, namespace or "", meta)
        if not meta.get("name") and isinstance(meta.get("generateName"), str) and meta["generateName"]:
            meta["name"] = name_from(meta["generateName"])
            while self.store.get(kind, namespace, meta["name"]):
                meta["name"] = name_from(meta["generateName"])
        stamp_new(kind, obj)
        if kind.status and kind.plural != "nodes":  # a kubelet registers its node with its status
            obj.pop("status", None)
        defaults.apply(kind, obj)
        faults = metadata_faults(kind, {"name": None, **meta}) + validation.faults(kind, obj)
        if faults:
            raise invalid(kind, str(meta.get("name") or meta.get("generateName") or ""), faults)
        if self.store.get(kind, namespace, meta["name"]):
            raise already_exists(kind, meta["name"])
        if kind.plural == "services":
            self._services.assign(obj, self.store.every(kind))
        if dry:
            meta["resourceVersion"] = str(self.store.version)
            return obj
        return self.store.put(kind, obj).obj

    def update(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        new: dict[str, Any],
        subresource: str | None = None,
        *,
        dry: bool = False,
        patched: bool = False,
    ) -> dict[str, Any]:
        """Replace an object, or only its status, and return it as stored.

        A change of nothing is not written. The last finalizer of a deleted object removed removes the object.

        Raises:
            ApiError: 404, 409 if it changed meanwhile, 422 if it is not valid.
        """
        record = self.store.get(kind, namespace, name)
        if record is None:
            raise not_found(kind, name)
        meta = _check_identity(kind, namespace, name, new)
        _check_shape(kind, new)
        if kind.custom and not patched and not meta.get("resourceVersion"):
            raise invalid(kind, name, [bad("metadata.resourceVersion", "0x0", "must be specified for an update")])
        carry_over(kind, record.obj, new, strict_uid=patched)
        if subresource == "status":
            new = {**copy_of(record), "status": new.get("status") or {}}
            meta = new["metadata"]
        elif kind.status:
            new.pop("status", None)
            if "status" in record.obj:
                new["status"] = record.obj["status"]
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        if subresource is None:
            defaults.apply(kind, new)
            faults = metadata_faults(kind, meta) + validation.faults(kind, new)
            faults = faults or validation.update_faults(kind, record.obj, new)
            if faults:
                raise invalid(kind, name, faults)
        if kind.generation and _content(kind, new) != _content(kind, record.obj):
            meta["generation"] = int(meta.get("generation") or 0) + 1
        if released(kind, meta):
            return new if dry else self.store.remove(kind, new).obj
        if new == record.obj:
            return record.obj
        return new if dry else self.store.put(kind, new).obj

    def delete(
        self, kind: Kind, namespace: str | None, name: str, options: DeleteOptions, dry: bool = False
    ) -> Deleted:
        """Delete an object, or mark it and leave it to its kubelet and finalizers.

        Raises:
            ApiError: 404, or 409 if a precondition does not hold.
        """
        record = self.store.get(kind, namespace, name)
        if record is None:
            raise not_found(kind, name)
        was = record.obj["metadata"]
        if options.uid and options.uid != was["uid"]:
            told = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {was['uid']}"
            raise conflict(kind, name, told)
        if options.version and options.version != was["resourceVersion"]:
            told = (
                f"Precondition failed: ResourceVersion in precondition: {options.version}, "
                f"ResourceVersion in object meta: {was['resourceVersion']}"
            )
            raise conflict(kind, name, told)
        if kind is NAMESPACES and name in ("default", "kube-system"):
            raise forbidden(kind, name, "this namespace may not be deleted")
        new = copy_of(record)
        meta = new["metadata"]
        finalizers = [
            item for item in meta.get("finalizers") or [] if item not in (ORPHAN, FOREGROUND) or not options.propagation
        ]
        if options.propagation == "Orphan":
            finalizers.append(ORPHAN)
        elif options.propagation == "Foreground":
            finalizers.append(FOREGROUND)
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        _mark(new, _grace(kind, record.obj, options.grace))
        if kind is NAMESPACES:
            new.setdefault("status", {})["phase"] = "Terminating"
        if released(kind, meta):
            return Deleted(new if dry else self.store.remove(kind, new).obj, True)
        if new == record.obj:
            return Deleted(record.obj, False)
        if kind.generation and not was.get("deletionTimestamp"):
            meta["generation"] = int(meta.get("generation") or 0) + 1
        return Deleted(new if dry else self.store.put(kind, new).obj, False)

    def _check_namespace(self, kind: Kind, namespace: str, meta: dict[str, Any]) -> None:
        found = self.store.get(NAMESPACES, None, namespace)
        if found is None:
            raise not_found(NAMESPACES, namespace)
        if found.obj["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(kind, str(meta.get("name", "")), why)


def copy_of(record: Record) -> dict[str, Any]:
    """Return an object that may be changed; those in the store are shared and may not."""
    obj: dict[str, Any] = json.loads(record.raw)
    return obj


def released(kind: Kind, meta: dict[str, Any]) -> bool:
    """Tell whether nothing holds a deleted object any more; a namespace is held by what is in it."""
    held = kind is NAMESPACES or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")
    return bool(meta.get("deletionTimestamp")) and not held


def _check_shape(kind: Kind, obj: dict[str, Any]) -> None:
    faults = shape_faults(kind, obj)
    if faults:
        raise invalid(kind, str(obj["metadata"].get("name") or ""), faults)


def _check_identity(kind: Kind, namespace: str | None, name: str | None, obj: dict[str, Any]) -> dict[str, Any]:
    """Make the object say what the path says, or refuse it where it says something else."""
    for field, wanted in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        said = obj.setdefault(field, wanted)
        if said != wanted:
            raise bad_request(f"the {field} in the data ({said}) does not match the expected one ({wanted})")
    meta = obj.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise bad_request(f"metadata must be an object, not {type(meta).__name__}")
    if not kind.namespaced:
        meta.pop("namespace", None)
    elif meta.setdefault("namespace", namespace) != namespace:
        raise bad_request(
            f"the namespace of the provided object ({meta['namespace']}) does not match the namespace sent "
            f"on the request ({namespace})"
        )
    if name is not None and meta.setdefault("name", name) != name:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    return meta


def _grace(kind: Kind, obj: dict[str, Any], asked: int | None) -> int:
    """Return the seconds that this object's deletion may take; only scheduled, unfinished pods get any."""
    if kind.plural != "pods":
        return 0
    spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    own = spec.get("terminationGracePeriodSeconds")
    grace = asked if asked is not None else int(own if own is not None else 30)
    before = obj["metadata"].get("deletionGracePeriodSeconds")
    # A deletion under way can be hurried, never slowed down.
    return grace if before is None else min(grace, int(before))


def _mark(obj: dict[str, Any], grace: int) -> None:
    meta = obj["metadata"]
    if meta.get("deletionTimestamp") and meta.get("deletionGracePeriodSeconds") == grace:
        return
    due = datetime.now(UTC) + timedelta(seconds=grace)
    meta["deletionTimestamp"] = due.strftime("%Y-%m-%dT%H:%M:%SZ")
    meta["deletionGracePeriodSeconds"] = grace


def _content(kind: Kind, obj: dict[str, Any]) -> dict[str, Any]:
    """Return what metadata.generation counts the changes of."""
    skipped = {"metadata", "status"} if kind.status else {"metadata"}
    return {key: value for key, value in obj.items() if key not in skipped}
