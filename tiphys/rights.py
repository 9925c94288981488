"""The docs page that says who may do what: each ServiceAccount's rights, counted, made from the roles themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

PAGE = "../../docs/rights.md"
"""Where the page is, seen from the folder of the rendered manifests."""

_HEAD = """\
<!-- Rendered by `tiphys render` from manifests/base; change the roles there, not this page. -->
# Who may do what

Each part of the pack runs as a ServiceAccount of its own, with the rights that it uses and no others: a test compares
the roles with what the steps' code asks of Kubernetes, in both directions. A right is one verb on one resource (of one
name, where names are given). A cluster shows the same, and besides what every account of it may do, by
`kubectl auth can-i --list -n tiphys --as system:serviceaccount:tiphys:NAME`.

What no Role can say is checked by the steps: that a cluster is labelled for drills, that a Secret is the one of the
cluster at hand, that a Workflow is one of the pack's own.
"""


@dataclass(frozen=True, order=True)
class Right:
    """A verb on a resource.

    Attributes:
        everywhere: whether in the whole cluster, or in the pack's namespace alone.
        group: API group; "" is the core one.
        resource: plural, with its subresource.
        names: of the objects; none for any.
        verb: what may be done.
        role: that gives it.
    """

    everywhere: bool
    group: str
    resource: str
    names: tuple[str, ...]
    verb: str
    role: str


def rights_of(account: str, objects: Iterable[Object]) -> list[Right]:
    """Return what a ServiceAccount may do, each right once for each role that gives it."""
    known = list(objects)
    roles = {(one["kind"], one["metadata"]["name"]): one for one in known if one["kind"] in ("Role", "ClusterRole")}
    found = set()
    for binding in known:
        subjects = binding.get("subjects") or []
        if not any(one["kind"] == "ServiceAccount" and one["name"] == account for one in subjects):
            continue
        kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
        everywhere = binding["kind"] == "ClusterRoleBinding"
        for rule in roles[kind, name]["rules"]:
            found |= {
                Right(everywhere, group, resource, tuple(rule.get("resourceNames", ())), verb, name)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            }
    return sorted(found)


def distinct(rights: Iterable[Right]) -> int:
    """Return how many rights there are, whichever roles give them."""
    return len({(one.everywhere, one.group, one.resource, one.names, one.verb) for one in rights})


def users(account: str, objects: Iterable[Object]) -> list[str]:
    """Return what runs as a ServiceAccount: templates, schedules, EventSources and Sensors, by name."""
    names = set()
    for one in objects:
        is_run = one["kind"] in ("WorkflowTemplate", "CronWorkflow", "EventSource", "Sensor")
        if is_run and account in set(_accounts(one["spec"])):
            word = f"{one['kind']} " if one["kind"] in ("EventSource", "Sensor") else ""
            names.add(f"{word}`{one['metadata']['name']}`")
    return sorted(names)


def _accounts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "serviceAccountName" and isinstance(inner, str):
                yield inner
            else:
                yield from _accounts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _accounts(inner)


def rights_page(objects: Iterable[Object], overlays: Mapping[str, int]) -> str:
    """Return the page in Markdown.

    Args:
        objects: of the base.
        overlays: how many objects there are with each.
    """
    known = list(objects)
    accounts = sorted(one["metadata"]["name"] for one in known if one["kind"] == "ServiceAccount")
    kinds = Counter(one["kind"] for one in known)
    rows = [_row(account, rights_of(account, known)) for account in accounts]
    counted = [f"| {kind} | {count} |" for kind, count in sorted(kinds.items(), key=lambda each: (-each[1], each[0]))]
    parts = [
        _HEAD,
        "| ServiceAccount | rights in the namespace | rights in the whole cluster | roles |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        "An install applies these objects, and one ConfigMap and one Secret of its own:",
        "",
        "| kind | objects |",
        "| --- | --- |",
        *counted,
        f"| all | {sum(kinds.values())} |",
        "",
        "So many with an overlay; those of an Ingress, and `webhook-tls`, hold `production`:",
        "",
        "| overlay | objects |",
        "| --- | --- |",
        *(f"| `{name}` | {count} |" for name, count in sorted(overlays.items())),
        "",
        *(_section(account, known) for account in accounts),
    ]
    return "\n".join(parts)


def _row(account: str, rights: list[Right]) -> str:
    inside = distinct(one for one in rights if not one.everywhere)
    outside = distinct(one for one in rights if one.everywhere)
    roles = ", ".join(sorted({f"`{one.role}`" for one in rights})) or "none"
    return f"| [`{account}`](#{account}) | {inside} | {outside} | {roles} |"


def _section(account: str, objects: list[Object]) -> str:
    rights = rights_of(account, objects)
    who = ", ".join(users(account, objects)) or "nothing that is in the base"
    lines = [f"## {account}", "", f"Runs {who}.", ""]
    if not rights:
        return "\n".join([*lines, "It may do nothing.", ""])
    lines += ["| where | resource | names | verbs | role |", "| --- | --- | --- | --- | --- |"]
    grouped: dict[tuple[bool, str, str, tuple[str, ...], str], list[str]] = {}
    for one in rights:
        grouped.setdefault((one.everywhere, one.group, one.resource, one.names, one.role), []).append(one.verb)
    for (everywhere, group, resource, names, role), verbs in grouped.items():
        where = "cluster" if everywhere else "namespace"
        full = f"{resource}.{group}" if group else resource
        named = ", ".join(f"`{name}`" for name in names) or "any"
        lines.append(f"| {where} | `{full}` | {named} | {', '.join(verbs)} | `{role}` |")
    return "\n".join([*lines, ""])
