"""Judging the data: what waits to be applied, what only one server has, tables without a key, open restores."""

from __future__ import annotations

from steps.check.facts import Facts
from steps.check.finding import CRITICAL, OK, WARNING, Finding, first, unknown
from steps.report.outcome import count

QUEUE_LIMIT = 1000
"""Transactions waiting at a member from which on it lags: about a second's work of a busy cluster."""


def judge_replication(facts: Facts) -> list[Finding]:
    """Return the findings about queues and errant transactions."""
    late = {pod: q for pod, q in facts.queues.items() if q.certifying + q.applying > QUEUE_LIMIT}
    found = [
        Finding(
            "lag",
            WARNING,
            f"{pod}: {q.certifying} transactions wait for certification, {q.applying} to be applied",
            "reads there are stale, and a failover to it would take longer",
            "find what writes so much; compare the members' disks",
        )
        for pod, q in sorted(late.items())
    ]
    if facts.queues and not late:
        found.append(Finding("lag", OK, f"fewer than {QUEUE_LIMIT} transactions wait at every member"))
    for pod, gtids in sorted((facts.errant or {}).items()):
        found.append(
            Finding(
                "errant transactions",
                CRITICAL,
                f"{pod} has {gtids[:200]}",
                "it holds transactions that the primary never had: its data differs, and it cannot rejoin as it is",
                "save them if they matter, then clone the member anew: delete its volume claim and its pod",
            )
        )
    if facts.errant is None:
        found.append(unknown("errant transactions", "there is no primary to ask, or it does not answer"))
    elif not facts.errant:
        found.append(Finding("errant transactions", OK, "none"))
    return found


def judge_tables(facts: Facts) -> list[Finding]:
    """Return the tables that a group refuses to write to."""
    if facts.keyless is None:
        return [unknown("primary keys", "there is no primary to ask, or it does not answer")]
    if not facts.keyless:
        return [Finding("primary keys", OK, "every table has one")]
    return [
        Finding(
            "primary keys",
            WARNING,
            f"{count(len(facts.keyless), 'table')} without: {first(facts.keyless)}",
            "the group refuses writes to them (error 3098)",
            "give each a primary key: ALTER TABLE ... ADD PRIMARY KEY",
        )
    ]


def judge_restores(facts: Facts) -> list[Finding]:
    """Return the restores that are not finished."""
    findings = []
    for one in facts.restores:
        seen = f"of {one.backup} by {one.workflow or 'hand'}, phase {one.phase}"
        if one.running:
            findings.append(Finding("restore", OK, f"going on: {seen}"))
            continue
        damaged = one.phase == "damaged"
        findings.append(
            Finding(
                "restore",
                CRITICAL if damaged else WARNING,
                f"not finished: {seen}",
                "its rows are wrong" if damaged else "some of its tables may be empty or hold part of their rows",
                "drop its schemas, and restore another backup"
                if damaged
                else "run the same restore again, which goes on where it stopped; or drop its schemas",
            )
        )
    return findings
