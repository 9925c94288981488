"""The order of a form's parameters: what a run is about first, and then what belongs together, each group by its name.

Argo's form is one column of names, without headings; a parameter's description shows at the question mark beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hera.workflows.models import Parameter

DRILL = {
    "Application": ("app-url", "app-verify-tls"),
    "Budget": ("max-write-downtime-seconds", "max-lost-writes"),
    "Measuring": (
        "steady-seconds",
        "settle-seconds",
        "timeout-seconds",
        "write-interval-ms",
        "writers",
        "readers",
        "keep-ledger",
    ),
    "Abort": ("abort-no-quorum-seconds", "abort-no-primary-seconds", "abort-write-downtime-seconds"),
}
"""Groups of a drill's parameters."""


def grouped(parameters: Iterable[Parameter], groups: Mapping[str, Iterable[str]]) -> list[Parameter]:
    """Return the parameters with those of no group first, then each group; a group's name begins its descriptions.

    Raises:
        ValueError: a group names a parameter that there is not.
    """
    known = {each.name: each for each in parameters}
    made = []
    for group, names in groups.items():
        for name in names:
            if name not in known:
                raise ValueError(f"group {group!r}: there is no parameter {name!r}, only {', '.join(known)}")
            one = known.pop(name)
            told = one.description or ""
            if not told.startswith(f"{group}: "):
                one = one.model_copy(update={"description": f"{group}: {told[:1].lower()}{told[1:]}"})
            made.append(one)
    return [*known.values(), *made]
