"""Which backups of a cluster are kept, and which rule keeps each. Pure: values in, decisions out.

A rule names backups to keep; a limit takes some of them away again; some are never removed, whatever is asked:
the newest, the newest that was verified with PASS, the newest that no verification failed, and one that is read now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

from steps.errors import BadParameters


@dataclass(frozen=True)
class Rules:
    """How many to keep. Days, weeks (ISO) and months are those of UTC, and only those count that have a backup.

    Attributes:
        keep_last: the newest so many.
        keep_daily: the newest of each of the newest so many days.
        keep_weekly: the same of weeks.
        keep_monthly: the same of months.
        max_age_days: what is older goes, though a rule keeps it; 0 for no limit.
        max_count: more than this many are not kept, though rules keep them; 0 for no limit.
    """

    keep_last: int = 3
    keep_daily: int = 7
    keep_weekly: int = 4
    keep_monthly: int = 6
    max_age_days: int = 0
    max_count: int = 0

    @classmethod
    def names(cls) -> list[str]:
        """Return the names as parameters have them: ``keep-last``."""
        return [field.name.replace("_", "-") for field in fields(cls)]

    def with_text(self, text: str, where: str) -> Rules:
        """Return the rules changed by a text such as ``keep-daily=14 keep-monthly=12``.

        Args:
            text: pairs, separated by spaces or commas.
            where: the text comes from, for the message.

        Raises:
            BadParameters: it is not of this form, or names an unknown rule.
        """
        changed: dict[str, int] = {}
        for pair in re.split(r"[\s,]+", text.strip()):
            name, _, value = pair.partition("=")
            if pair and (name not in self.names() or not re.fullmatch(r"\d{1,5}", value)):
                raise BadParameters(
                    f"{where} has {pair!r:.60}; expected pairs such as keep-daily=14 of {', '.join(self.names())}, "
                    "each with a number from 0. Nothing was removed."
                )
            if pair:
                changed[name.replace("-", "_")] = int(value)
        return replace(self, **changed)

    def __str__(self) -> str:
        return " ".join(f"{field.name.replace('_', '-')}={getattr(self, field.name)}" for field in fields(self))


@dataclass(frozen=True)
class Candidate:
    """One finished backup.

    Attributes:
        name: unique.
        moment: that it holds, with a zone.
        verdict: of its last verification; empty where there was none.
        read: whether somebody reads it now.
        selection: what of the cluster it holds; empty for all.
    """

    name: str
    moment: datetime
    verdict: str = ""
    read: bool = False
    selection: str = ""


@dataclass(frozen=True)
class Decision:
    """What becomes of one backup, and why."""

    name: str
    keep: bool
    reasons: tuple[str, ...]


def decide(candidates: Sequence[Candidate], rules: Rules, now: datetime) -> list[Decision]:
    """Decide about every backup of one cluster, the newest first.

    A copy of one table takes no copy of everything's place: the rules are applied to those of each selection alone.
    """
    ordered = _ordered(candidates)
    alike: dict[str, list[Candidate]] = {}
    for one in ordered:
        alike.setdefault(one.selection, []).append(one)
    made = {decision.name: decision for group in alike.values() for decision in _decide(group, rules, now)}
    return [made[one.name] for one in ordered]


def _ordered(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: (one.moment, one.name), reverse=True)


def _decide(ordered: Sequence[Candidate], rules: Rules, now: datetime) -> list[Decision]:
    """Decide about backups that hold the same, the newest first.

    A backup whose last verification failed takes no other's place: the rules are applied to all, and again to those
    that did not fail, and what either keeps is kept.
    """
    safe = _never_removed(ordered)
    kept = _kept(ordered, rules)
    for name, reasons in _kept([one for one in ordered if one.verdict != "FAIL"], rules).items():
        kept.setdefault(name, reasons)
    gone: dict[str, str] = {}
    for one in ordered:
        if one.name not in kept:
            gone[one.name] = "no rule keeps it"
        elif rules.max_age_days and now - one.moment > timedelta(days=rules.max_age_days):
            gone[one.name] = f"older than max-age-days={rules.max_age_days}"
    if rules.max_count:
        # Places go to what is never removed, then to what has not failed, then to the newest.
        staying = [one for one in ordered if one.name not in gone or one.name in safe]
        staying.sort(key=lambda one: (one.name not in safe, one.verdict == "FAIL"))
        for one in staying[max(rules.max_count, len(safe)) :]:
            gone[one.name] = f"more than max-count={rules.max_count}"
    made = []
    for one in ordered:
        if one.name in safe:
            made.append(Decision(one.name, True, (*safe[one.name], *kept.get(one.name, ()))))
        elif one.name in gone:
            made.append(Decision(one.name, False, (gone[one.name],)))
        else:
            made.append(Decision(one.name, True, kept[one.name]))
    return made


def _never_removed(ordered: Sequence[Candidate]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}

    def add(one: Candidate | None, reason: str) -> None:
        if one is not None:
            found[one.name] = (*found.get(one.name, ()), reason)

    add(next(iter(ordered), None), "the newest")
    add(next((one for one in ordered if one.verdict == "PASS"), None), "the newest verified with PASS")
    good = next((one for one in ordered if one.verdict != "FAIL"), None)
    if good is not None and good.name not in found:
        add(good, "the newest that no verification failed")
    for one in ordered:
        if one.read:
            add(one, "being read")
    return found


def _kept(ordered: Sequence[Candidate], rules: Rules) -> dict[str, tuple[str, ...]]:
    """Return what the rules keep, and which ones; everything where there is no rule."""
    kept: dict[str, tuple[str, ...]] = {}
    if not (rules.keep_last or rules.keep_daily or rules.keep_weekly or rules.keep_monthly):
        return {one.name: ("no rule is set",) for one in ordered}
    for number, one in enumerate(ordered[: rules.keep_last], 1):
        kept[one.name] = (f"last {number} of {rules.keep_last}",)
    of_time: list[tuple[str, int, Callable[[datetime], Hashable]]] = [
        ("daily", rules.keep_daily, lambda at: f"{at:%Y-%m-%d}"),
        ("weekly", rules.keep_weekly, lambda at: f"{at:%G-W%V}"),
        ("monthly", rules.keep_monthly, lambda at: f"{at:%Y-%m}"),
    ]
    for rule, count, period in of_time:
        seen: set[Hashable] = set()
        for one in ordered:
            when = period(one.moment.astimezone(UTC))
            if when in seen:
                continue
            if len(seen) == count:
                break
            seen.add(when)
            kept[one.name] = (*kept.get(one.name, ()), f"{rule} {when}")
    return kept
