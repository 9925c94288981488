"""The report of a check: JSON, a page, JUnit XML and Prometheus' text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steps.check.finding import CRITICAL, OK, UNKNOWN, WARNING, health
from steps.check.look import Examined
from steps.check.metrics import gauges
from steps.check.servers import Server
from steps.report import page
from steps.report.junit import Suite
from steps.report.outcome import count
from steps.report.page import Tile

MARKS = {OK: "✓", UNKNOWN: "?", WARNING: "!", CRITICAL: "✕"}


def document(examined: Sequence[Examined], at: datetime) -> dict[str, Any]:
    """Return the report as JSON can hold it."""
    return {
        "checked_at": at.isoformat(timespec="seconds"),
        "health": health([finding for one in examined for finding in one.findings]),
        "clusters": [
            {
                "cluster": one.name,
                "health": one.health,
                "summary": one.seen.facts.topology.summary(),
                "members": [asdict(member) for member in one.seen.facts.topology.members],
                "servers": [described(server) for server in one.seen.servers],
                "volumes": [asdict(volume) for volume in one.seen.volumes],
                "findings": [asdict(finding) for finding in one.findings],
                "metrics": [asdict(gauge) for gauge in gauges(one)],
            }
            for one in examined
        ],
    }


def described(server: Server) -> dict[str, Any]:
    """Return what is known of a server, without its hundreds of settings."""
    until = server.certificate_until
    return {
        "pod": server.pod,
        "error": server.error,
        "connections": server.connections,
        "max_connections": int(server.settings.get("max_connections") or 0),
        "certificate_until": until.isoformat() if until else None,
        "clock_ahead_seconds": round(server.clock, 4),
        "clock_error_seconds": round(server.clock_error, 4),
        "applying_seconds": round(server.apply_seconds, 3),
        "stored_bytes": server.stored_bytes,
    }


def to_xml(examined: Sequence[Examined], at: datetime, seconds: float) -> bytes:
    """Return report.xml: one test case for each finding; a warning fails as well as what is critical."""
    suite = Suite("check-cluster", at.isoformat(timespec="seconds"), seconds)
    for one in examined:
        for number, finding in enumerate(one.findings, 1):
            bad = finding.severity in (WARNING, CRITICAL)
            why = f"{finding.severity}: {finding.seen}: {finding.means}. To do: {finding.run}" if bad else ""
            skipped = finding.seen if finding.severity == UNKNOWN else ""
            title = f"{one.name}: {number:02d} {finding.check}"
            suite.case(title, 0.0, why, type=finding.severity, skipped=skipped)
    return suite.to_xml()


def render(examined: Sequence[Examined], at: datetime, run: str) -> str:
    """Return the page."""
    return page.render(Path(__file__).with_name("report.html.j2"), context(examined, at, run))


def context(examined: Sequence[Examined], at: datetime, run: str) -> dict[str, Any]:
    """Return what the template shows."""
    findings = [finding for one in examined for finding in one.findings]
    worst = health(findings)
    return {
        "verdict": worst.upper(),
        "mark": MARKS[worst],
        "sentence": sentence(examined),
        "tiles": tiles(examined),
        "examined": examined,
        "titles": {CRITICAL: "Critical", WARNING: "Warnings", UNKNOWN: "Not known", OK: "Good"},
        "order": (CRITICAL, WARNING, UNKNOWN),
        "marks": MARKS,
        "at": at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "run": run,
        "program": version("tiphys"),
        "rows": {one.name: rows(one) for one in examined},
    }


def sentence(examined: Sequence[Examined]) -> str:
    """Return the whole in a line."""
    if not examined:
        return "There are no clusters"
    bad = [finding for one in examined for finding in one.of(CRITICAL)]
    warned = [finding for one in examined for finding in one.of(WARNING)]
    if not bad and not warned:
        return f"{', '.join(one.name for one in examined)}: nothing to do"
    parts = [f"{len(bad)} critical"] if bad else []
    parts += [count(len(warned), "warning")] if warned else []
    about = dict.fromkeys(finding.check for finding in [*bad, *warned])
    return f"{' and '.join(parts)}: {', '.join(about)}"


def tiles(examined: Sequence[Examined]) -> list[Tile]:
    """Return the numbers at the top."""
    facts = [one.seen.facts for one in examined]
    online, wanted = sum(f.topology.online for f in facts), sum(f.topology.expected for f in facts)
    ready, routers = sum(f.routers_ready for f in facts), sum(f.routers_wanted for f in facts)
    number = {each: sum(len(one.of(each)) for one in examined) for each in MARKS}
    disks = [volume.disk_used for one in examined for volume in one.seen.volumes if volume.disk_used is not None]
    days = [s.certificate_days for one in examined for s in one.seen.servers if s.certificate_days is not None]
    return [
        Tile("Critical", str(number[CRITICAL]), "to be mended now", "bad" if number[CRITICAL] else "good"),
        Tile("Warnings", str(number[WARNING]), "to be looked at", "" if number[WARNING] else "good"),
        Tile("Good", str(number[OK]), f"{number[UNKNOWN]} could not be told" if number[UNKNOWN] else "all was read"),
        Tile(
            "Members ONLINE",
            f"{online} of {wanted}",
            f"{ready} of {routers} Routers ready",
            "" if online == wanted else "bad",
        ),
        Tile("Fullest disk", f"{max(disks):.0%}" if disks else "?", "of a server" if disks else "nothing tells"),
        Tile("Certificates", f"{min(days):.0f} days" if days else "?", "until the first ends"),
    ]


def rows(one: Examined) -> list[dict[str, str]]:
    """Return a line for each server of a cluster."""
    topology, volumes = one.seen.facts.topology, {volume.pod: volume for volume in one.seen.volumes}
    nodes = {pod["metadata"]["name"]: str(pod["spec"].get("nodeName") or "") for pod in one.seen.place.servers}
    made = []
    for server in one.seen.servers:
        member, volume = topology.of_pod(server.pod), volumes.get(server.pod)
        queue, days = one.seen.facts.queues.get(server.pod), server.certificate_days
        used = volume.disk_used if volume else None
        made.append(
            {
                "pod": server.pod,
                "state": f"{member.state} {member.role}".strip() if member else "in no group",
                "good": "yes" if member and member.state == "ONLINE" else "",
                "version": member.version if member else "?",
                "node": nodes.get(server.pod) or "?",
                "queue": str(queue.certifying + queue.applying) if queue else "?",
                "connections": "?" if server.error else f"{server.connections} of {server.settings['max_connections']}",
                "disk": "?" if used is None else f"{used:.0%}",
                "certificate": "?" if days is None else f"{days:.0f} days",
            }
        )
    return made
