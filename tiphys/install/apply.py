"""Carrying out a plan: in order, each object once, told as it happens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tiphys.install import applyset, given, order
from tiphys.install.kube import Kube, shown
from tiphys.install.pack import GITHUB
from tiphys.install.plan import CREATE, DELETE, KEEP, THREADS, Change, Plan
from tiphys.runs.errors import Conflict, ToolError

Object = dict[str, Any]
Report = Callable[[str, str], None]
"""Called with an action and the object's name."""


def carry_out(kube: Kube, plan: Plan, remembered: dict[str, str], *, force: bool, report: Report) -> bool:
    """Make the changes of a plan, and tell whether a new token was made for the webhook.

    The set's parent is written first, with the kinds of before and of now, so that an install that is killed in
    between leaves nothing that nobody finds again.

    Raises:
        ToolError: an object was refused; what was applied before it stays, and the next install goes on from there.
    """
    coming = [change for change in plan.changes if change.action != DELETE]
    by_rank = [
        list(group) for _, group in itertools.groupby(coming, key=lambda change: order.rank(change.wanted["kind"]))
    ]
    first = by_rank.pop(0) if coming and coming[0].wanted["kind"] == "Namespace" else []
    _apply(kube, first, force, report)
    kinds = {applyset.group_kind(change.wanted) for change in coming} | {("", "Secret"), ("", "ConfigMap")}
    write_parent(kube, plan.parent, kinds | applyset.kinds_of(plan.parent), remembered)
    is_new = _make_secret(kube, given.webhook_secret(), report)
    if any(change.name == f"EventSource/{GITHUB}" for change in coming):
        _make_secret(kube, given.github_secret(), report)
    for group in by_rank:
        _apply(kube, group, force, report)
    for change in sorted(plan.by(DELETE), key=lambda change: order.sort_key(change.wanted), reverse=True):
        kube.delete(change.wanted)
        report(DELETE, change.name)
    write_parent(kube, kube.find(applyset.parent(kube.namespace, (), {})), kinds, remembered)
    return is_new


def _make_secret(kube: Kube, secret: Object, report: Report) -> bool:
    """Create a Secret, unless there is one of its name; tell whether it was created."""
    wanted = applyset.member(secret, kube.namespace)
    is_new = kube.find(wanted) is None and kube.create(wanted)
    if is_new:
        report(CREATE, shown(wanted))
    return bool(is_new)


def write_parent(
    kube: Kube, live: Object | None, kinds: Iterable[applyset.GroupKind], remembered: dict[str, str]
) -> None:
    """Write the set's parent, if it is not so already."""
    wanted = applyset.parent(kube.namespace, kinds, remembered)

    def essence(one: Object) -> tuple[object, ...]:
        return one.get("data"), applyset.kinds_of(one), one["metadata"].get("labels")

    if live is None or essence(live) != essence(wanted):
        kube.apply(wanted, force=True)


def _apply(kube: Kube, changes: list[Change], force: bool, report: Report) -> None:
    """Apply objects of one kind, some at a time."""

    def one(change: Change) -> Change:
        if change.action != KEEP:
            try:
                kube.apply(change.wanted, force=force)
            except Conflict as error:
                told = "; ".join(f"{cause['field']}: {cause['message']}" for cause in error.causes) or error.message
                raise ToolError(f"{change.name} was changed by somebody else meanwhile: {told}") from error
            except ToolError as error:
                raise type(error)(f"{change.name}: {error.message}") from error
        return change

    with ThreadPoolExecutor(THREADS) as pool:
        for change in pool.map(one, changes):
            report(change.action, change.name)
