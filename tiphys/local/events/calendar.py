"""Calendars of EventSources: at which moments one gives an event, as values.

The language is what Argo Events takes: cron schedules of five fields as github.com/robfig/cron/v3 reads them,
durations as Go writes them, and days to leave out as ``EXDATE:`` lines (argo-events
pkg/eventsources/sources/calendar/start.go, pkg/shared/util/recurrence.go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LOOK_AHEAD = timedelta(days=5 * 366)
"""How far ahead a schedule is searched: a 29th of February that is a Monday may be farther, and never comes here."""

_MINUTE, _SECOND = timedelta(minutes=1), timedelta(seconds=1)
_WEEKDAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_MONTHS = {"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6}
_MONTHS |= {"jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _WEEKDAYS),
)
_PART = re.compile(r"(?P<star>[*?])?(?(star)|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_GO_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)? ([+-]\d{4}) \S+( m=\S+)?")


class CalendarError(Exception):
    """A calendar that cannot be kept; the text begins with the name of the field."""


@dataclass(frozen=True)
class Schedule:
    """A cron schedule.

    Attributes:
        text: as it was given.
        fields: the values that each of the five fields takes.
        either_day: whether one of day of the month and day of the week is enough (both are restricted).
    """

    text: str
    fields: tuple[frozenset[int], ...]
    either_day: bool

    def __str__(self) -> str:
        """Return it as it was given."""
        return self.text

    def following(self, after: datetime, zone: ZoneInfo) -> datetime:
        """Return the first moment after `after`.

        Hours that the clocks skip in spring have none, and those that come twice in autumn have theirs twice.

        Raises:
            CalendarError: if there is none for years.
        """
        minutes, hours = self.fields[:2]
        moment = after.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
        end = moment + LOOK_AHEAD
        while moment < end:
            local = moment.astimezone(zone)
            if not self._has_day(local.date()):
                midnight = datetime.combine(local.date() + timedelta(days=1), time(), zone)
                moment = max(moment + _MINUTE, midnight.astimezone(UTC))
            elif local.hour not in hours:
                moment += timedelta(minutes=60 - local.minute)
            elif local.minute not in minutes:
                moment += _MINUTE
            else:
                return local
        raise CalendarError("schedule: it has no moment within the next five years")

    def _has_day(self, day: date) -> bool:
        _, _, days, months, weekdays = self.fields
        matches = (day.day in days, day.isoweekday() % 7 in weekdays)
        return day.month in months and (any(matches) if self.either_day else all(matches))


@dataclass(frozen=True)
class Calendar:
    """One calendar of an EventSource.

    Attributes:
        zone: in which the schedule is meant and event times are written.
        schedule: a cron schedule, or None.
        interval: time between two events where there is no schedule.
        excluded: days on which there is no event, as the zone counts them.
        config_map: name of the ConfigMap that keeps the last event's time, or None.
        create_config_map: whether it is made where it is missing.
        catch_up: whether events that should have come while nothing ran are given later.
        catch_up_limit: how old they may be, None for any age.
        metadata: what is added to each event.
    """

    zone: ZoneInfo
    schedule: Schedule | None = None
    interval: timedelta = timedelta()
    excluded: frozenset[date] = frozenset()
    config_map: str | None = None
    create_config_map: bool = False
    catch_up: bool = False
    catch_up_limit: timedelta | None = None
    metadata: dict[str, str] = field(default_factory=dict, hash=False)

    def following(self, after: datetime) -> datetime:
        """Return the first moment after `after` at which there is an event, in the calendar's zone.

        Raises:
            CalendarError: if there is none for years.
        """
        end = after + LOOK_AHEAD
        while after < end:
            if self.schedule:
                after = self.schedule.following(after, self.zone)
            else:
                after = (after.replace(microsecond=0) + self.interval).astimezone(self.zone)
            if after.date() not in self.excluded:
                return after
        raise CalendarError("exclusionDates: they leave no moment within the next five years")

    @property
    def moments(self) -> str:
        """What tells when there are events: another text is another calendar, whose past is not made up for."""
        excluded = ",".join(str(day) for day in sorted(self.excluded))
        return f"{self.zone.key} {self.schedule or self.interval} {excluded}"

    def begin(self, now: datetime, last: datetime | None) -> datetime:
        """Return the moment after which events are given.

        Args:
            now: the time of the start.
            last: the last event's time, None if there was none.
        """
        if not self.catch_up or last is None:
            return max(now, last or now)
        return last if self.catch_up_limit is None else max(last, now - self.catch_up_limit)

    def event(self, moment: datetime) -> dict[str, Any]:
        """Return the event of a moment: what Argo Events puts on its bus."""
        made: dict[str, Any] = {"eventTime": go_time(moment.astimezone(self.zone))}
        return {**made, "metadata": self.metadata} if self.metadata else made


def parse(spec: dict[str, Any]) -> Calendar:
    """Return the calendar that an EventSource's ``spec.calendar.<name>`` describes.

    Raises:
        CalendarError: a value cannot be read, or means nothing.
    """
    if bool(spec.get("schedule")) == bool(spec.get("interval")):
        raise CalendarError("schedule: expected either a schedule or an interval")
    zone = _zone(spec.get("timezone") or "UTC")
    schedule = parse_schedule(str(spec["schedule"])) if spec.get("schedule") else None
    interval = timedelta()
    if schedule is None:
        interval = parse_duration("interval", spec["interval"])
        if interval < _SECOND or interval % _SECOND:
            raise CalendarError(f"interval: {spec['interval']!r}; expected whole seconds, at least one")
    persistence = spec.get("persistence") or {}
    catch_up, config_map = persistence.get("catchup") or {}, persistence.get("configMap") or {}
    if persistence and not config_map.get("name"):
        # Argo Events keeps nothing then, and catches up with nothing, without a word.
        raise CalendarError("persistence.configMap.name: missing; nothing would be kept")
    limit = catch_up.get("maxDuration")
    calendar = Calendar(
        zone,
        schedule,
        interval,
        _excluded(spec.get("exclusionDates") or []),
        config_map.get("name"),
        bool(config_map.get("createIfNotExist")),
        bool(catch_up.get("enabled")),
        parse_duration("persistence.catchup.maxDuration", limit) if limit else None,
        dict(spec.get("metadata") or {}),
    )
    calendar.following(datetime.now(UTC))
    return calendar


def parse_schedule(text: str) -> Schedule:
    """Return a cron schedule: minute, hour, day of the month, month, day of the week.

    Raises:
        CalendarError: it is none.
    """
    words = text.split()
    if len(words) != len(_FIELDS):
        what = f"schedule: {text!r} has {len(words)} fields"
        raise CalendarError(f"{what}; expected 5: minute, hour, day of the month, month, day of the week")
    parsed = [_parse_field(word, *known) for word, known in zip(words, _FIELDS, strict=True)]
    return Schedule(text, tuple(values for values, _ in parsed), not parsed[2][1] and not parsed[4][1])


def _parse_field(text: str, name: str, least: int, most: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    """Return the values of a field, and whether it says "any"."""
    values, is_any = set(), False
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if not found:
            raise CalendarError(f"schedule: {part!r} is no {name}; expected such as *, */2, {least}, {least}-{most}")
        step = int(found["step"] or 1)
        if found["star"]:
            low, high = least, most
            is_any = is_any or step == 1
        else:
            low = _number(found["low"], name, names)
            high = _number(found["high"], name, names) if found["high"] else most if found["step"] else low
        if not (least <= low <= high <= most and step):
            raise CalendarError(f"schedule: {part!r} is no {name}; expected {least} to {most}, the lower one first")
        values |= set(range(low, high + 1, step))
    return frozenset(values), is_any


def _number(text: str, name: str, names: dict[str, int]) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return names[text.lower()]
    except KeyError as error:
        raise CalendarError(f"schedule: {text!r} is no {name}") from error


def parse_duration(name: str, text: object) -> timedelta:
    """Return a duration as Go writes it, such as ``1h30m``.

    Raises:
        CalendarError: it is none.
    """
    parts = _DURATION.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CalendarError(f"{name}: {text!r} is no duration; expected such as 30s, 15m, 1h30m")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CalendarError(f"timezone: {name!r} is unknown; expected such as UTC or Europe/Berlin") from error


def _excluded(lines: list[Any]) -> frozenset[date]:
    days = set()
    for line in lines:
        kind, _, dates = str(line).partition(":")
        try:
            if kind != "EXDATE":
                raise ValueError("it does not begin with EXDATE:")
            days |= {datetime.strptime(one, "%Y%m%dT%H%M%SZ").date() for one in dates.split(",")}
        except ValueError as error:
            what = f"exclusionDates: {line!r} is none: {error}"
            raise CalendarError(f"{what}; expected such as EXDATE:20261225T000000Z") from error
    return frozenset(days)


def go_time(moment: datetime) -> str:
    """Return a time as Go's ``time.Time.String()`` writes it."""
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} {moment:%z} {moment:%Z}"


def parse_go_time(text: str) -> datetime:
    """Return a time that Go's ``time.Time.String()`` wrote.

    Raises:
        ValueError: it is none.
    """
    found = _GO_TIME.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no time; expected such as 2026-11-22 06:00:00 +0000 UTC")
    whole = datetime.strptime(f"{found[1]} {found[3]}", "%Y-%m-%d %H:%M:%S %z")
    return whole + timedelta(seconds=float(found[2] or 0))
