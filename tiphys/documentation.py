"""The docs page that lists every runbook's parameters and results, made from the templates themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eventsources.triggerable import NARROWED, TARGETS, WITHHELD
from tiphys.runs.listing import about

PAGE = "../../docs/runbooks.md"
"""Where the page is, seen from the folder of the rendered manifests."""

_HEAD = """\
<!-- Rendered by `tiphys render` from the templates; change those, not this page. -->
# Runbooks and their parameters

Start one with `tiphys submit NAME -p parameter=value --wait`, from the Argo UI, or by a POST of a JSON object with
these names to `/NAME` of the webhook, where those marked so cannot be set. A parameter without a default has to be
given. Runs on the same cluster wait for each other. Where there is a `dry-run`, it tells the plan, and fails where the
run itself would be refused, with the same message and exit code.
"""


def runbooks_page(manifests: Iterable[dict[str, Any]]) -> str:
    """Return the page in Markdown: templates by name, then the schedules."""
    known = sorted(manifests, key=lambda manifest: str(manifest["metadata"]["name"]))
    parts = [_HEAD]
    parts += [_template(manifest) for manifest in known if manifest["kind"] == "WorkflowTemplate"]
    schedules = [_schedule(manifest) for manifest in known if manifest["kind"] == "CronWorkflow"]
    if schedules:
        rows = "\n".join(schedules)
        parts.append(f"## Schedules\n\n| CronWorkflow | when | what |\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _template(manifest: dict[str, Any]) -> str:
    spec = manifest["spec"]
    lines = [f"## {manifest['metadata']['name']}", "", about(manifest), ""]
    if parameters := spec.get("arguments", {}).get("parameters", []):
        lines += ["| parameter | default | meaning |", "| --- | --- | --- |"]
        withheld = WITHHELD.get(manifest["metadata"]["name"], frozenset())
        narrowed = NARROWED.get(manifest["metadata"]["name"], {})
        for p in parameters:
            where = " Not by webhook." if p["name"] in withheld else ""
            if p["name"] in TARGETS and "value" in p:
                where = " By webhook it has to be given."
            if p["name"] in narrowed:
                where = f" By webhook only {narrowed[p['name']].name}."
            lines.append(f"| `{p['name']}` | {_default(p)} | {_meaning(p)}{where} |")
        lines.append("")
    outputs = [p for t in spec["templates"] for p in t.get("outputs", {}).get("parameters", []) if "globalName" in p]
    if outputs:
        lines += ["| result (`status.outputs.parameters`) | meaning |", "| --- | --- |"]
        # Several steps may write one result: the last one's stays.
        meanings = {p["globalName"]: _cell(p.get("description", "")) for p in outputs}
        lines += [f"| `{name}` | {meaning} |" for name, meaning in meanings.items()]
        lines.append("")
    return "\n".join(lines)


def _default(parameter: dict[str, Any]) -> str:
    if "value" not in parameter:
        return "**required**"
    return f"`{parameter['value']}`" if parameter["value"] else "(empty)"


def _meaning(parameter: dict[str, Any]) -> str:
    text = _cell(parameter.get("description", ""))
    choices = ", ".join(f"`{choice}`" for choice in parameter.get("enum", []))
    return f"{text} One of {choices}." if choices else text


def _schedule(manifest: dict[str, Any]) -> str:
    spec = manifest["spec"]
    when = ", ".join(f"`{schedule}`" for schedule in spec["schedules"])
    return f"| `{manifest['metadata']['name']}` | {when} {spec.get('timezone', '')} | {_cell(about(manifest))} |"
