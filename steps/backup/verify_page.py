"""A verification's report in its three forms: a page for people, JSON for programs, JUnit XML for CI."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.backup.manifest import FILE as MANIFEST
from steps.backup.verify_expect import expectation
from steps.backup.verify_record import Table
from steps.backup.verify_verdict import Result, bytes_of, length, named
from steps.report import page
from steps.report.junit import Suite
from steps.report.outcome import MARKS, Outcome
from steps.report.page import Tile

SCHEMA = 1
"""Version of report.json; fields may be added without raising it."""

MOST_TABLES = 200
"""Tables that the page lists; report.json has all."""


@dataclass(frozen=True)
class Row:
    """One phase on the page: its bar as per cent of all phases."""

    key: str
    title: str
    note: str
    at: str
    length: str
    offset: float
    width: float


def render(result: Result) -> str:
    """Return the page."""
    return page.render(Path(__file__).with_name("verify_report.html.j2"), context(result))


def context(result: Result) -> dict[str, Any]:
    """Return what the template shows."""
    order, checks = result.order, result.checks
    kinds = checks.kinds if checks else ()
    tables = sorted(checks.tables if checks else (), key=lambda table: (not table.bad, -table.rows, table.name))
    return {
        "verdict": result.outcome.value,
        "mark": MARKS[result.outcome],
        "sentence": result.sentence,
        "program": order.program,
        "tiles": tiles(result),
        "result": result,
        "order": order,
        "rows": rows(result),
        "answers": [(one, expectation(one.expect)) for one in (checks.answers if checks else ())],
        "tables": tables[:MOST_TABLES],
        "more_tables": max(0, len(tables) - MOST_TABLES),
        "kinds": [kind for kind in kinds if kind.expected or kind.bad],
        "none_of": [kind.kind for kind in kinds if not (kind.expected or kind.bad)],
        "named": named,
        "damaged": result.objects.damaged if result.objects else (),
        "equal": equal,
        "backup": facts(result),
        "parameters": parameters(result),
        "limits": limits(result),
        "length": length,
    }


def tiles(result: Result) -> list[Tile]:
    """Return the numbers at the top."""
    order, objects, checks = result.order, result.objects, result.checks
    made = []
    if order.mode == "full":
        budget = f"budget {length(order.max_rto)}" if order.max_rto is not None else "no budget is set"
        if result.rto_seconds is None:
            why = "the data never became usable" if result.scratch else "it was not restored"
            made.append(Tile("Time to restore (RTO)", "?", why))
        else:
            over = order.max_rto is not None and result.rto_seconds > order.max_rto
            tone = "bad" if over else "good" if order.max_rto is not None else ""
            made.append(Tile("Time to restore (RTO)", length(result.rto_seconds), budget, tone))
    if order.moment:
        budget = f"budget {length(order.max_age)}" if order.max_age is not None else "no budget is set"
        over = order.max_age is not None and order.age_seconds > order.max_age
        tone = "bad" if over else "good" if order.max_age is not None else ""
        made.append(Tile("Age of the data (RPO)", length(order.age_seconds), budget, tone))
    if objects:
        sound = objects.files - len(objects.damaged)
        value = f"{sound:,} of {objects.files:,}" if objects.damaged else f"{objects.files:,}"
        note = f"{bytes_of(objects.bytes)} in {length(objects.seconds)}"
        made.append(Tile("Files as written", value, note, "bad" if objects.damaged else "good"))
    if checks:
        bad = [table for table in checks.tables if table.bad]
        count = len(checks.tables)
        value = f"{count - len(bad):,} of {count:,}" if bad else f"{count:,}"
        note = f"{sum(table.rows for table in checks.tables):,} rows"
        made.append(Tile("Tables as they were", value, note, "bad" if bad else "good"))
        chunks = sum(table.chunks for table in checks.tables)
        same = sum(table.same for table in checks.tables)
        left = sum(table.uncompared for table in checks.tables)
        note = "the rest could only be counted" if left else "read again, byte by byte"
        value = f"{same:,} of {chunks:,}" if same < chunks else f"{chunks:,}"
        made.append(Tile("Chunks equal", value, note, "bad" if same + left < chunks else "" if left else "good"))
        wrong = sum(bool(one.bad) for one in checks.answers)
        asked = len(checks.answers)
        value = f"{asked - wrong} of {asked}" if wrong else f"{asked}" if asked else "none"
        note = "answered as expected" if asked else "no ConfigMap with queries"
        made.append(Tile("Your queries", value, note, "bad" if wrong else "good" if asked else ""))
    return made


def rows(result: Result) -> list[Row]:
    """Return the phases with their bars."""
    notes = {
        "ready": "from asking for a scratch cluster until its servers were ONLINE",
        "loaded": "the step restore, as people run it, until the last right was granted",
        "checked": "after the data was usable: not part of the time to restore",
    }
    span = max(sum(phase.seconds for phase in result.phases), 1e-6)
    made, at = [], 0.0
    for phase in result.phases:
        end = at + phase.seconds
        offset, width = at / span * 100, phase.seconds / span * 100
        made.append(
            Row(phase.key, phase.title, notes[phase.key], f"+{length(end)}", length(phase.seconds), offset, width)
        )
        at = end
    return made


def equal(table: Table) -> str:
    """Return how many of a table's chunks are equal, for people."""
    if table.uncompared == table.chunks:
        return "counted only"
    return f"{table.same:,} of {table.chunks:,}" + (f" ({table.uncompared:,} counted only)" if table.uncompared else "")


def facts(result: Result) -> dict[str, str]:
    """Return what is known of the backup."""
    order = result.order
    found = {"name": order.backup, "place": order.place}
    if order.moment:
        found |= {
            "holds": order.moment[:19].replace("T", " ") + " UTC",
            "rows": "not counted" if order.rows is None else f"{order.rows:,}",
            "tables": f"{order.tables:,}",
            "files": f"{order.files:,}",
            "bytes": bytes_of(order.bytes),
            "server version": order.server_version,
            "made by": order.method,
            "encrypted": "yes" if order.encrypted else "no",
        }
    if result.scratch:
        servers = f"{result.scratch.servers} server{'s' * (result.scratch.servers > 1)}"
        found["restored into"] = f"{result.scratch.name}, {servers}, MySQL {result.scratch.server_version}"
    return found


def parameters(result: Result) -> dict[str, str]:
    """Return the parameters of the run, for people."""
    order = result.order
    return {
        "mode": order.mode,
        "servers": str(order.servers),
        "parallel": str(order.parallel),
        "max-rto": "none" if order.max_rto is None else length(order.max_rto),
        "max-age": "none" if order.max_age is None else length(order.max_age),
        "queries": order.queries_from or "none",
        "query-seconds": f"{order.query_seconds:g}",
        "timeout-seconds": f"{order.timeout_seconds:g}",
    }


def limits(result: Result) -> list[str]:
    """Return what a verification cannot tell."""
    order = result.order
    found = [
        "It compares with what the backup wrote. Whether that was what the source held at that moment, only the user's "
        "queries can tell.",
    ]
    if order.mode == "full":
        found += [
            f"The time to restore is that of a scratch cluster of {order.servers} server"
            f"{'s' * (order.servers > 1)} on this day's load, from the API call to the end of the step restore, pods "
            "included; a cluster with more servers takes longer, since each gets a copy.",
            "Times of different steps come from the clocks of the nodes that they ran on.",
            "Grants are restored and an error in them fails the restore; they are not compared one by one.",
            "The event scheduler is switched off on the scratch cluster, so that the backup's events do not change "
            "rows while they are compared.",
        ]
    return found


def to_json(result: Result) -> dict[str, Any]:
    """Return report.json: a stable schema for machines.

    Keys: ``schema``, ``verdict``, ``sentence``, ``problems``, ``notes``, ``sound``; ``run``, ``namespace``,
    ``cluster``, ``backup``, ``started_at``, ``ended_at``; ``rto_seconds`` (null where not reached), ``rpo_seconds``;
    ``phases`` (key, title, seconds, in_rto); ``objects``, ``scratch``, ``restoration``, ``checks`` (null where not
    reached); ``order`` (parameters and what the manifest says).
    """
    order = dataclasses.asdict(result.order)

    def part(record: Any) -> dict[str, Any] | None:
        return None if record is None else dataclasses.asdict(record)

    return {
        "schema": SCHEMA,
        "verdict": result.outcome.value,
        "sentence": result.sentence,
        "problems": list(result.problems),
        "notes": list(result.notes),
        "sound": result.sound,
        "run": result.order.run,
        "namespace": result.order.namespace,
        "cluster": result.order.cluster,
        "backup": result.order.backup,
        "started_at": result.order.started_at,
        "ended_at": result.ended_at,
        "rto_seconds": result.rto_seconds,
        "rpo_seconds": result.order.age_seconds if result.order.moment else None,
        "phases": [dataclasses.asdict(phase) for phase in result.phases],
        "objects": part(result.objects),
        "scratch": part(result.scratch),
        "restoration": part(result.restoration),
        "checks": part(result.checks),
        "order": order,
    }


def to_xml(result: Result) -> bytes:
    """Return report.xml: a case for each thing that is judged; what was not reached is skipped."""
    order, objects, checks, restoration = result.order, result.objects, result.checks, result.restoration
    total = sum(phase.seconds for phase in result.phases) + (objects.seconds if objects else 0.0)
    suite = Suite(f"verify-backup.{order.cluster}", order.started_at, total)
    unreached = "" if result.outcome is Outcome.PASS else result.sentence

    def case(title: str, seconds: float, bad: str, skipped: bool = False) -> None:
        suite.case(title, seconds, bad, type=result.outcome.value, skipped=unreached if skipped else "")

    damaged = "; ".join(map(str, objects.damaged)) if objects else order.problem
    case(f"every file of {MANIFEST} is as written", objects.seconds if objects else 0.0, damaged, objects is None)
    if order.mode == "full":
        loaded = next((phase.seconds for phase in result.phases if phase.key == "loaded"), 0.0)
        case("the backup restores", loaded, restoration.error if restoration else "", restoration is None)
        for table in checks.tables if checks else ():
            case(f"table {table.name} is as it was", table.seconds, "; ".join(table.bad))
        for kind in checks.kinds if checks else ():
            case(f"the same {kind.kind} are there", 0.0, "; ".join(kind.bad))
        for one in checks.answers if checks else ():
            case(f"query {one.name}", one.seconds, f"{one.bad}; expected {expectation(one.expect)}" if one.bad else "")
        if checks is None:
            case("the restored data is the backup's", 0.0, "", True)
        if order.max_rto is not None:
            rto = result.rto_seconds
            over = f"{rto:.3f} s, the budget is {order.max_rto:g} s" if rto is not None and rto > order.max_rto else ""
            case(f"the data is usable within {order.max_rto:g} s", rto or 0.0, over, rto is None)
    if order.max_age is not None:
        why = f"{order.age_seconds:.0f} s, the budget is {order.max_age:g} s"
        why = why if order.age_seconds > order.max_age else ""
        case(f"what the backup holds is at most {order.max_age:g} s old", 0.0, why, not order.moment)
    if result.outcome in (Outcome.INVALID, Outcome.ABORTED):
        suite.case("the verification came to its end", 0.0, result.sentence, type=result.outcome.value, kind="error")
    return suite.to_xml()
