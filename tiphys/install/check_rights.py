"""Whether the person may do all that an install does, asked of the API server itself."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from tiphys.install.findings import ERROR, OK, Finding
from tiphys.install.kube import Kube, UnknownKind
from tiphys.install.plan import THREADS

Object = dict[str, Any]

VERBS = ("get", "list", "create", "patch", "delete")
RBAC = "rbac.authorization.k8s.io"


class Right(NamedTuple):
    """A verb on a resource; `namespace` "" is the whole cluster, `name` "" any object."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str = ""


def of_objects(kube: Kube, objects: Iterable[Object]) -> set[Right]:
    """Return the rights that applying, pruning and removing objects takes."""
    rights = {Right(verb, "", "secrets", kube.namespace) for verb in VERBS}
    for version, kind in sorted({(one["apiVersion"], one["kind"]) for one in objects}):
        try:
            found = kube.resource(version, kind)
        except UnknownKind:
            # Said elsewhere; the rights on it cannot be asked about.
            continue
        where = kube.namespace if found.namespaced else ""
        rights |= {Right(verb, found.group, found.plural, where) for verb in VERBS}
    return rights


def given_by(objects: Iterable[Object], namespace: str) -> set[Right]:
    """Return the rights that the pack's roles give: who gives a right must have it, or may escalate."""
    rights = set()
    for one in objects:
        if one["kind"] in ("Role", "ClusterRole"):
            where = namespace if one["kind"] == "Role" else ""
            for rule in one["rules"]:
                rights |= {
                    Right(verb, group, resource, where, name)
                    for verb in rule["verbs"]
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for name in rule.get("resourceNames", [""])
                }
    return rights


def look(kube: Kube, objects: list[Object]) -> Finding:
    """Ask for every right that an install needs.

    Rights in a namespace that is not there yet can be asked about like any other.
    """
    needed = of_objects(kube, objects)
    may_escalate = {
        Right("escalate", RBAC, "roles", kube.namespace),
        Right("escalate", RBAC, "clusterroles", ""),
    }
    missing = _missing(kube, needed)
    given: set[Right] = set()
    if _missing(kube, may_escalate):
        given = _missing(kube, given_by(objects, kube.namespace))
    if not missing and not given:
        return Finding("rights", OK, f"you may do all that an install does ({len(needed)} rights asked about)")
    lines = [*_lines(missing), *(f"{line} (a role of the pack gives it)" for line in _lines(given))]
    return Finding(
        "rights",
        ERROR,
        f"you lack {len(missing) + len(given)} of {len(needed) + len(given)} rights",
        ("ask a cluster administrator to run the install, or for:", *lines),
        blocks=True,
    )


def _missing(kube: Kube, rights: Iterable[Right]) -> set[Right]:
    asked = sorted(rights)
    with ThreadPoolExecutor(THREADS) as pool:
        answers = pool.map(lambda one: kube.may(one.verb, one.group, one.resource, one.namespace, one.name), asked)
    return {one for one, allowed in zip(asked, answers, strict=True) if not allowed}


def _lines(rights: Iterable[Right]) -> list[str]:
    """Return rights for people: the verbs of a resource on one line."""
    by_resource: dict[tuple[str, str], set[str]] = {}
    for one in rights:
        resource = f"{one.resource}.{one.group}" if one.group else one.resource
        by_resource.setdefault((resource, one.namespace), set()).add(one.verb)
    return [
        f"{', '.join(sorted(verbs))} {resource} {f'in {namespace}' if namespace else 'in the whole cluster'}"
        for (resource, namespace), verbs in sorted(by_resource.items())
    ]
