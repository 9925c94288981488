"""Templates and runs as lists: what there is to run, with which parameters, and what has run lately."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tiphys.runs.api import Object, is_internal
from tiphys.runs.nodes import ENDED, outputs_of, phase_of, seconds_of, took, waits_for, when
from tiphys.runs.rules import expected, rules_of

ABOUT, LINE = "tiphys.dev/about", "workflows.argoproj.io/description"
TITLE = "workflows.argoproj.io/title"
WIDTH = 80
_ITEM = re.compile(r"(?:[-*]|\d+\.) +")
_AS_IT_IS = ("|", "    ", "#")


def template_rows(templates: Sequence[Object]) -> list[dict[str, str]]:
    """Return name and purpose of each template that is for people, by name."""
    shown = [one for one in templates if not is_internal(one)]
    shown.sort(key=lambda one: str(one["metadata"]["name"]))
    return [{"name": one["metadata"]["name"], "about": purpose(one)} for one in shown]


def purpose(template: Object) -> str:
    """Return what a template is for in one line: what Argo's list says of it, else its title."""
    notes = template["metadata"].get("annotations") or {}
    first = str(notes.get(LINE) or "").strip().partition("\n")[0]
    return first.rstrip(".") or str(notes.get(TITLE) or "")


def about(template: Object) -> str:
    """Return the whole description of a template, in Markdown; its line of Argo's list where it has no other."""
    notes = template["metadata"].get("annotations") or {}
    return str(notes.get(ABOUT) or notes.get(LINE) or "").strip()


def parameter_rows(template: Object) -> list[dict[str, Any]]:
    """Return a template's parameters as plain values; a default of None means that a run must give it."""
    return [
        {"name": rule.name, "default": rule.default, "expected": expected(rule), "help": rule.help}
        for rule in rules_of(template).values()
    ]


def template_page(template: Object) -> list[str]:
    """Return what `tiphys templates NAME` shows: description, parameters, and how to run it."""
    name = template["metadata"]["name"]
    parameters = parameter_rows(template)
    lines = [*in_width(text), ""] if (text := about(template)) else []
    lines.append("Parameters:" if parameters else "It has no parameters.")
    for one in parameters:
        default = "required" if one["default"] is None else f"default {one['default'] or '(empty)'}"
        told = f"{one['name']}  [{'; '.join(filter(None, (default, one['expected'])))}]".replace("|", "| ")
        wrapped = textwrap.wrap(told, WIDTH, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
        lines += [line.replace("| ", "|") for line in wrapped]
        lines += textwrap.wrap(one["help"], WIDTH, initial_indent="      ", subsequent_indent="      ")
    needed = "".join(f" -p {one['name']}=..." for one in parameters if one["default"] is None)
    return [*lines, "", f"Run it: tiphys submit {name}{needed} --wait"]


def in_width(text: str) -> list[str]:
    """Return Markdown as lines of a terminal's width: paragraphs and items anew, tables and code as they are."""
    lines: list[str] = []
    for block in text.split("\n\n"):
        parts: list[str] = []
        for line in block.splitlines():
            is_own = bool(_ITEM.match(line)) or line.startswith(_AS_IT_IS)
            if parts and not is_own and not parts[-1].startswith(_AS_IT_IS):
                parts[-1] += f" {line.strip()}"
            else:
                parts.append(line)
        for part in parts:
            if part.startswith(_AS_IT_IS):
                lines.append(part)
                continue
            indent = " " * len(item[0]) if (item := _ITEM.match(part)) else ""
            lines += textwrap.wrap(
                part, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
            )
        lines.append("")
    return lines[:-1]


def run_rows(workflows: Sequence[Object], limit: int, now: datetime | None = None) -> list[dict[str, str]]:
    """Return the newest runs, the newest first.

    Args:
        workflows: the runs.
        limit: how many to return at most.
        now: what ages are counted from.
    """
    now = now or datetime.now(UTC)
    ordered = sorted(workflows, key=lambda one: str(one["metadata"].get("creationTimestamp") or ""), reverse=True)
    rows = []
    for one in ordered[:limit]:
        created = when(one["metadata"].get("creationTimestamp"))
        waits = waits_for(one)
        rows.append(
            {
                "name": one["metadata"]["name"],
                "template": _template_of(one),
                "phase": "Suspended" if waits else phase_of(one),
                "age": took((now - created).total_seconds()) if created else "",
                "took": took(seconds_of(one, now)) if phase_of(one) in ENDED else "",
                "verdict": outputs_of(one).get("verdict", ""),
                "note": waits,
            }
        )
    return rows


def _template_of(workflow: Object) -> str:
    """Return the name of a run's template, or of the schedule that started it."""
    reference = (workflow["spec"].get("workflowTemplateRef") or {}).get("name")
    labels = workflow["metadata"].get("labels") or {}
    return str(reference or labels.get("workflows.argoproj.io/cron-workflow") or "")


def template_list(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return rows of `template_rows` as lines of a terminal's width; a long purpose goes on below its beginning."""
    width = max(len(one["name"]) for one in rows)
    lines = []
    for name, about in [("NAME", "ABOUT"), *((one["name"], one["about"]) for one in rows)]:
        wrapped = textwrap.wrap(about, max(WIDTH - width - 2, 20), break_on_hyphens=False) or [""]
        lines += [
            f"{left:<{width}}  {part}".rstrip()
            for left, part in zip([name, *[""] * len(wrapped)], wrapped, strict=False)
        ]
    return lines


def table(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> list[str]:
    """Return rows as lines of a table; a column named "" has no heading, and takes the value "note"."""
    cells = [[one.get(column or "note", "") for column in columns] for one in rows]
    cells.insert(0, [column.upper() for column in columns])
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
