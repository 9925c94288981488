"""What the API server keeps in every object's metadata, and the rules for names, labels and annotations."""

from __future__ import annotations

import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from tiphys.local.apiserver.errors import Cause, bad, conflict, forbidden_field, invalid, required
from tiphys.local.registry import Kind, by_kind

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PATH_SEGMENT = re.compile(r"(?!\.\.?$)[^/%]+")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_TEXT = {
    "subdomain": (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character"
    ),
    "label": (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
        "and end with an alphanumeric character"
    ),
    "label1035": (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character"
    ),
    "segment": "must not be '.' or '..' and must not contain '/' or '%'",
}
_ANNOTATIONS_LIMIT = 256 * 1024
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Characters of generated name suffixes: no vowels, so no words; no digits that look like letters."""


def now() -> str:
    """Return the present time as Kubernetes writes it: UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_label(name: object) -> bool:
    """Tell whether a name is a DNS label (RFC 1123), as names of containers and volumes must be."""
    return isinstance(name, str) and len(name) <= 63 and bool(_LABEL.fullmatch(name))


def name_from(prefix: str) -> str:
    """Return a name made from metadata.generateName."""
    return prefix[:58] + "".join(secrets.choice(_ALPHABET) for _ in range(5))


def stamp_new(kind: Kind, obj: dict[str, Any]) -> None:
    """Give a new object what only the server decides: uid, creation time, generation; drop what it may not set."""
    meta = obj["metadata"]
    for field in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
        meta.pop(field, None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now()
    if kind.generation:
        meta["generation"] = 1
    else:
        meta.pop("generation", None)
    _drop_empty(meta)


def carry_over(kind: Kind, old: dict[str, Any], new: dict[str, Any], *, strict_uid: bool) -> None:
    """Keep what an update may not change in metadata.

    Args:
        kind: the objects' kind.
        old: the stored object.
        new: the object that shall replace it; changed in place.
        strict_uid: whether another uid is a fault of the object (a patch) rather than a failed precondition.

    Raises:
        ApiError: 409 or 422 if the update means another object or an older version of this one.
    """
    name, was, meta = old["metadata"]["name"], old["metadata"], new["metadata"]
    if meta.get("uid") and meta["uid"] != was["uid"]:
        if strict_uid:
            raise invalid(kind, name, [bad("metadata.uid", meta["uid"], "field is immutable")])
        raise conflict(
            kind,
            name,
            f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}",
        )
    if meta.get("resourceVersion") and meta["resourceVersion"] != was["resourceVersion"]:
        raise conflict(kind, name)
    for field in (
        *("name", "namespace", "uid", "creationTimestamp", "generation", "generateName"),
        *("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"),
    ):
        if field in was:
            meta[field] = was[field]
        else:
            meta.pop(field, None)
    meta.pop("selfLink", None)
    if "managedFields" in was:
        meta.setdefault("managedFields", was["managedFields"])
    _drop_empty(meta)
    added = set(meta.get("finalizers") or ()) - set(was.get("finalizers") or ())
    if was.get("deletionTimestamp") and added:
        why = f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}"
        raise invalid(kind, name, [forbidden_field("metadata.finalizers", why)])


def _drop_empty(meta: dict[str, Any]) -> None:
    for field in ("labels", "annotations", "finalizers", "ownerReferences", "managedFields"):
        if field in meta and not meta[field]:
            del meta[field]


def metadata_faults(kind: Kind, meta: dict[str, Any]) -> list[Cause]:
    """Return what is wrong with a name, labels, annotations, finalizers or owners."""
    faults = _name_faults(kind, meta["name"])
    for key, value in _mapping(meta, "labels", faults).items():
        faults += _key_faults("metadata.labels", key)
        if not isinstance(value, str):
            faults.append(bad(f"metadata.labels[{key}]", value, "must be a string"))
        elif len(value) > 63 or not _VALUE.fullmatch(value):
            why = (
                "a valid label must be an empty string or at most 63 alphanumeric characters, '-', '_' or '.', "
                "and must start and end with an alphanumeric character"
            )
            faults.append(bad("metadata.labels", value, why))
    size = 0
    for key, value in _mapping(meta, "annotations", faults).items():
        faults += _key_faults("metadata.annotations", key.lower())
        if not isinstance(value, str):
            faults.append(bad(f"metadata.annotations[{key}]", value, "must be a string"))
        else:
            size += len(key) + len(value)
    if size > _ANNOTATIONS_LIMIT:
        faults.append(
            Cause(
                "metadata.annotations",
                "FieldValueTooLong",
                f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes",
            )
        )
    finalizers = meta.get("finalizers") or []
    if not isinstance(finalizers, list) or not all(isinstance(item, str) and item for item in finalizers):
        faults.append(bad("metadata.finalizers", str(finalizers), "must be a list of names"))
    faults += _owner_faults(meta.get("ownerReferences") or [])
    return faults


def _mapping(meta: dict[str, Any], field: str, faults: list[Cause]) -> dict[str, Any]:
    value = meta.get(field) or {}
    if isinstance(value, dict):
        return value
    faults.append(bad(f"metadata.{field}", str(value), "must be a map of strings"))
    return {}


def _name_faults(kind: Kind, name: Any) -> list[Cause]:
    if not isinstance(name, str) or not name:
        return [required("metadata.name", "name or generateName is required")]
    if kind.plural in ("namespaces",):
        rule, pattern, longest = "label", _LABEL, 63
    elif kind.plural == "services":
        rule, pattern, longest = "label1035", _LABEL_1035, 63
    elif kind.group == "rbac.authorization.k8s.io":
        rule, pattern, longest = "segment", _PATH_SEGMENT, 253
    else:
        rule, pattern, longest = "subdomain", _SUBDOMAIN, 253
    if len(name) > longest:
        return [bad("metadata.name", name, f"must be no more than {longest} characters")]
    if not pattern.fullmatch(name):
        return [bad("metadata.name", name, _TEXT[rule])]
    return []


def _key_faults(field: str, key: str) -> list[Cause]:
    prefix, slash, name = key.rpartition("/")
    good = _QUALIFIED.fullmatch(name) and (not slash or (_SUBDOMAIN.fullmatch(prefix) and len(prefix) <= 253))
    if good:
        return []
    why = (
        "must be an optional DNS subdomain prefix and '/', and a name of at most 63 alphanumeric characters, "
        "'-', '_' or '.'"
    )
    return [bad(field, key, why)]


def _owner_faults(owners: Any) -> list[Cause]:
    faults: list[Cause] = []
    controllers = 0
    for index, owner in enumerate(owners):
        at = f"metadata.ownerReferences[{index}]"
        faults += [required(f"{at}.{field}") for field in ("apiVersion", "kind", "name", "uid") if not owner.get(field)]
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        faults.append(bad("metadata.ownerReferences", "", "only one reference can have controller set to true"))
    return faults


def owner_kind(owner: dict[str, Any]) -> Kind | None:
    """Return the kind of an owner reference, or None if the server does not know it."""
    return by_kind(owner.get("apiVersion", ""), owner.get("kind", ""))
