"""What an install would change, as people read it: unified diffs of YAML, no secrets."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from tiphys.install.kube import without_noise
from tiphys.install.plan import CHANGE, CREATE, DELETE, Change
from tiphys.rendering import as_yaml

_SIGN = {CREATE: "+", CHANGE: "~", DELETE: "-"}


def lines(changes: list[Change], *, whole: bool = False) -> Iterator[str]:
    """Yield the lines of a diff; what does not change is left out.

    Args:
        changes: of a plan.
        whole: whether objects that are new or go are shown in full, and not by their name alone.
    """
    for change in changes:
        if change.action not in _SIGN:
            continue
        yield f"{_SIGN[change.action]} {change.name} ({_told(change)})"
        if change.action == CHANGE or whole:
            yield from (f"    {line}" for line in _unified(change))


def _told(change: Change) -> str:
    return {CREATE: "new", DELETE: "no longer part of the pack"}.get(change.action, "changes")


def _unified(change: Change) -> Iterator[str]:
    before = _text(change.before) if change.before else []
    after = _text(change.after) if change.after else []
    found = list(difflib.unified_diff(before, after, n=2, lineterm=""))
    # What stands in the first two lines are the names of files; there are none.
    yield from found[2:]
    if not found:
        yield "(values stay; from now on an install owns these fields)"


def _text(one: dict[str, Any]) -> list[str]:
    kept = without_noise(one)
    if one["kind"] == "Secret":
        for part in ("data", "stringData"):
            kept[part] = dict.fromkeys(kept.get(part) or {}, "(not shown)")
    return as_yaml(kept).splitlines()
