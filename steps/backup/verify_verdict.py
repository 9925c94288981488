"""The verdict on a backup: a function of what the steps of its verification found. Pure.

- FAIL: a file is missing or damaged, the backup does not restore, the restored data differs, a query of the user is not
  answered as expected, or a budget (RTO, age) is broken.
- ABORTED: the run was stopped before it was through, and nothing was found to be wrong until then.
- INVALID: it did not come to its end for another reason; that proves nothing of the backup.
- PASS: none of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from steps.backup.manifest import FILE as MANIFEST
from steps.backup.verify_content import listed
from steps.backup.verify_expect import expectation
from steps.backup.verify_record import Checks, Damage, Kind, Objects, Order, Restoration, Scratch, seconds_between
from steps.report.outcome import Outcome

NAMED = 10
"""Findings of one sort that are told one by one; the report has all."""


@dataclass(frozen=True)
class Phase:
    """One stretch of the way to usable data.

    Attributes:
        key: ready, loaded or checked.
        title: for people.
        seconds: its length.
        in_rto: whether a person who needs the data waits for it.
    """

    key: str
    title: str
    seconds: float
    in_rto: bool


@dataclass(frozen=True)
class Result:
    """A verification's result.

    Attributes:
        order: what was verified.
        objects: None where that was not reached; so are the next three.
        scratch: likewise.
        restoration: likewise.
        checks: likewise.
        ended_at: ISO time of this judgement.
        outcome: the verdict.
        sentence: the whole result in one sentence.
        problems: what led to a verdict other than PASS, in sentences.
        notes: what was found in order, and what should be known beside it.
        sound: whether the files are whole, the backup restores and the data is equal, whatever budgets and the user's
            queries say; None where that is not known.
        rto_seconds: from asking for a cluster to usable data; None where it did not get there.
        phases: of the way.
    """

    order: Order
    objects: Objects | None
    scratch: Scratch | None
    restoration: Restoration | None
    checks: Checks | None
    ended_at: str
    outcome: Outcome
    sentence: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    sound: bool | None
    rto_seconds: float | None
    phases: tuple[Phase, ...]


def judge(
    order: Order,
    objects: Objects | None,
    scratch: Scratch | None,
    restoration: Restoration | None,
    checks: Checks | None,
    *,
    ended_at: str,
    stopped: bool = False,
) -> Result:
    """Return the result.

    Args:
        order: what was asked for.
        objects: the next four as far as the run came.
        scratch: likewise.
        restoration: likewise.
        checks: likewise.
        ended_at: ISO time.
        stopped: whether somebody stopped the run.
    """
    damage = damages(order, objects, restoration, checks)
    rto, phases = timing(scratch, restoration, checks)
    broken = _wrong_answers(checks) + _over_budget(order, rto)
    missing = _unfinished(order, objects, scratch, restoration, checks)
    if damage or broken:
        outcome = Outcome.FAIL
    elif missing:
        outcome = Outcome.ABORTED if stopped else Outcome.INVALID
    else:
        outcome = Outcome.PASS
    problems = damage + broken
    if missing and outcome is not Outcome.FAIL:
        problems.append(f"{'The run was stopped' if stopped else 'The run did not come to its end'}: {missing}.")
    notes = _good(order, objects, checks) + _known(order, objects, checks)
    sound = False if damage else None if missing else True
    first = (damage or _answers_in_short(checks) or broken or [missing])[0]
    sentence = _sentence(order, outcome, first, rto)
    return Result(
        order,
        objects,
        scratch,
        restoration,
        checks,
        ended_at,
        outcome,
        sentence,
        tuple(problems),
        tuple(notes),
        sound,
        rto,
        phases,
    )


def damages(order: Order, objects: Objects | None, restoration: Restoration | None, checks: Checks | None) -> list[str]:
    """Return what is wrong with the backup itself or with what came out of it, each in a sentence."""
    found = []
    if order.problem and objects is None:
        found.append(f"{Damage(MANIFEST, order.problem)}.")
    if objects:
        found += _few([f"{damage}." for damage in objects.damaged], "damaged files")
    if restoration and restoration.error and not restoration.refused:
        found.append(f"The backup does not restore: {restoration.error}")
    if checks:
        tables = [f"{table.name}: {'; '.join(table.bad)}." for table in checks.tables if table.bad]
        found += _few(tables, "tables that differ")
        found += [f"{why}." for kind in checks.kinds for why in kind.bad]
    return found


def _few(sentences: list[str], what: str) -> list[str]:
    if len(sentences) <= NAMED:
        return sentences
    return [*sentences[:NAMED], f"And {len(sentences) - NAMED} more {what}: report.json has all."]


def _wrong_answers(checks: Checks | None) -> list[str]:
    if checks is None:
        return []
    wrong = []
    for one in checks.answers:
        if one.bad:
            # Where rows differ, the row that does is told with what it should be.
            expected = "" if isinstance(one.expect, list) and one.expect else f"; expected: {expectation(one.expect)}"
            wrong.append(f"Query “{one.name}”: {one.bad.rstrip('.')}{expected}.")
    return _few(wrong, "wrong answers")


def _answers_in_short(checks: Checks | None) -> list[str]:
    answers = checks.answers if checks else ()
    wrong = [one.name for one in answers if one.bad]
    verb = "is" if len(wrong) == 1 else "are"
    said = f"{len(wrong)} of {len(answers)} queries {verb} not answered as expected ({listed(wrong, 3)})"
    return [said] if wrong else []


def _over_budget(order: Order, rto: float | None) -> list[str]:
    found = []
    if order.max_rto is not None and rto is not None and rto > order.max_rto:
        found.append(f"The data was usable after {length(rto)}, the budget is {length(order.max_rto)} (max-rto).")
    if order.max_age is not None and order.moment and order.age_seconds > order.max_age:
        found.append(
            f"What the backup holds was {length(order.age_seconds)} old, the budget is {length(order.max_age)} "
            "(max-age): a newer backup is missing."
        )
    return found


def _unfinished(
    order: Order,
    objects: Objects | None,
    scratch: Scratch | None,
    restoration: Restoration | None,
    checks: Checks | None,
) -> str:
    """Return what was not reached; empty where nothing is missing."""
    if objects is None:
        return "its files were not all read"
    if order.mode == "objects":
        return ""
    if scratch is None:
        return f"the scratch cluster {order.scratch} did not become ready"
    if restoration is None:
        return "the restore did not end"
    if restoration.refused:
        return f"the restore was refused: {restoration.error.rstrip('.')}"
    if checks is None and not restoration.error:
        return "the restored data was not checked"
    return ""


def timing(
    scratch: Scratch | None, restoration: Restoration | None, checks: Checks | None
) -> tuple[float | None, tuple[Phase, ...]]:
    """Return the seconds from asking for a cluster to usable data, and the phases, as far as they were reached."""
    phases: list[Phase] = []
    if scratch is None:
        return None, ()
    ready = seconds_between(scratch.requested_at, scratch.ready_at)
    phases.append(Phase("ready", "Cluster ready", ready, True))
    if restoration is None or restoration.error:
        return None, tuple(phases)
    loaded = seconds_between(scratch.ready_at, restoration.ended_at)
    phases.append(Phase("loaded", "Data loaded", loaded, True))
    if checks is not None:
        phases.append(Phase("checked", "Checks done", seconds_between(restoration.ended_at, checks.ended_at), False))
    return seconds_between(scratch.requested_at, restoration.ended_at), tuple(phases)


def _good(order: Order, objects: Objects | None, checks: Checks | None) -> list[str]:
    found = []
    if objects and not objects.damaged:
        found.append(
            f"All {objects.files:,} files that {MANIFEST} names are there with their size and SHA-256 "
            f"({bytes_of(objects.bytes)} read)."
        )
    if checks and not any(table.bad for table in checks.tables):
        same = sum(table.same for table in checks.tables)
        rows = sum(table.rows for table in checks.tables)
        said = f"All {len(checks.tables):,} tables have their rows ({rows:,}) and pass CHECK TABLE"
        chunks = sum(table.chunks for table in checks.tables)
        if same:
            said += f"; the bytes of {same:,} of {chunks:,} chunks were read out of them again and are the backup's"
        found.append(f"{said}.")
    if checks and not any(kind.bad for kind in checks.kinds):
        counted = ", ".join(named(kind) for kind in checks.kinds if kind.expected)
        found.append(f"The same objects are there by name: {counted or 'none were in the backup'}.")
    if checks and checks.answers and not any(one.bad for one in checks.answers):
        found.append(f"All {len(checks.answers)} queries of ConfigMap {order.queries_from} are answered as expected.")
    return found


def named(kind: Kind) -> str:
    """Return a number of objects with its noun: ``1 view``, ``2 views``."""
    return f"{kind.found} {kind.kind.removesuffix('s') if kind.found == 1 else kind.kind}"


def _known(order: Order, objects: Objects | None, checks: Checks | None) -> list[str]:
    """Return what changes no verdict but should be known."""
    found = []
    if checks and (unknown := [table.name for table in checks.tables if table.uncompared]):
        found.append(
            f"Not compared byte by byte, only counted, because the backup does not say which rows a chunk held "
            f"({'another program wrote it' if order.method == 'operator' else 'no primary key'}): {listed(unknown)}."
        )
    if order.keyless and checks:
        found.append(
            f"Tables without a primary key, restored with an invisible one (invisible-key=true): "
            f"{listed(list(order.keyless))}."
        )
    if objects and objects.strangers:
        found.append(f"Objects beside the backup that it does not name: {listed(list(objects.strangers))}.")
    if order.mode == "full" and not order.questions:
        found.append(
            f"No queries of your own were asked: a ConfigMap {order.cluster}-verify-queries says what the data must "
            "answer (docs/verify-backup.md)."
        )
    if order.mode == "objects":
        found.append("Only its files were read (mode=objects): whether it restores is not known from this run.")
    return found


def _sentence(order: Order, outcome: Outcome, first: str, rto: float | None) -> str:
    match outcome:
        case Outcome.PASS if order.mode == "objects":
            return f"Every file of {order.backup} is as it was written"
        case Outcome.PASS:
            rows = f"{order.rows:,} rows" if order.rows is not None else "its rows"
            return f"{order.backup} restores: {rows} were back and usable after {length(rto or 0.0)}"
        case Outcome.FAIL:
            return f"{order.backup} fails: {first.removesuffix('.')}"
        case _:
            return f"Nothing is proven of {order.backup}: {first}"


def length(seconds: float) -> str:
    """Return a length of time as people read it: ``30 ms``, ``4.2 s``, ``3 min 20 s``, ``5 h 12 min``, ``2 d 3 h``."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    for size, unit, smaller, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= 2 * size or (unit == "min" and whole >= size):
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def bytes_of(size: int) -> str:
    """Return a number of bytes as people read it."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
