"""What a game day does: the list of its drills, read from text and checked in full before anything starts. Pure.

``switchover, router-kill, drain-node:switchover-first=true;hold-seconds=5``: entries stand apart by commas or blanks,
each is a fault's name, maybe with parameters of its own.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from steps.declare import StepCommand, StepOption
from steps.drill import drain
from steps.drill.drain_measure import drain_measure
from steps.drill.drain_preflight import drain_preflight
from steps.drill.faults import FAULTS
from steps.drill.measure import drill_measure
from steps.drill.preflight import drill_preflight
from steps.drill.undo import drill_undo
from steps.drill.verify import drill_verify
from steps.errors import BadParameters
from steps.parameters import as_text, describe

MOST = 20
"""Drills of one game day: each takes a minute or more, and the cluster is a drill's all the time."""

OUTAGE = "allow-outage"
FIXED = ("namespace", "cluster", "workflow", "fault", "dry-run", "keep-ledger")
"""Parameters that an entry cannot set: the game day does, or they make no sense in one."""

NOT_LIKENESS = (
    "max-write-downtime-seconds",
    "max-lost-writes",
    "steady-seconds",
    "settle-seconds",
    "timeout-seconds",
    "eviction-seconds",
    "app-url",
    "app-verify-tls",
    OUTAGE,
)
"""Parameters that do not change how long writes stop: runs that differ in these can be compared."""

NAME_LENGTH = 63


@dataclass(frozen=True)
class Entry:
    """One drill of the list.

    Attributes:
        fault: its name.
        template: the WorkflowTemplate that does it.
        given: parameters that the entry sets, as the template takes them.
        like: what else has to be equal for two runs of the fault to be comparable: parameter to value.
    """

    fault: str
    template: str
    given: Mapping[str, str] = field(default_factory=dict)
    like: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The entry as it was written."""
        given = ";".join(f"{key}={value}" for key, value in self.given.items())
        return f"{self.fault}:{given}" if given else self.fault


@functools.cache
def _options(template: str) -> Mapping[str, click.Option]:
    """Return the options of a drill's steps by name."""
    commands: dict[str, list[StepCommand]] = {
        "failover-drill": [drill_preflight, drill_measure, drill_verify, drill_undo],
        "node-drain-drill": [drain_preflight, drain_measure, drill_verify, drill_undo],
    }
    return {
        describe(option).name: option
        for command in commands[template]
        for option in command.params
        if isinstance(option, StepOption)
    }


def template_of(fault: str) -> str:
    """Return the WorkflowTemplate that injects a fault."""
    return "node-drain-drill" if fault == drain.NAME else "failover-drill"


def known_faults() -> list[str]:
    """Return every fault that a game day can have."""
    return [*FAULTS, drain.NAME]


def read(text: str, *, allow_outage: bool = False) -> list[Entry]:
    """Return the drills of a list.

    Args:
        text: as the module says.
        allow_outage: whether entries may ask for faults that leave no majority.

    Raises:
        BadParameters: with everything that is wrong with it.
    """
    words = text.replace(",", " ").split()
    entries, wrong = list[Entry](), list[str]()
    for number, word in enumerate(words, 1):
        try:
            entries.append(_entry(word, allow_outage))
        except BadParameters as error:
            wrong.append(f"drill {number} ({word[:60]!r}): {error}")
    if not words:
        wrong.append(f"the list is empty; expected such as 'switchover, crash' of {', '.join(known_faults())}")
    if len(words) > MOST:
        wrong.append(f"{len(words)} drills are more than one game day takes ({MOST}): make two of it")
    if wrong:
        raise BadParameters("Nothing was started: " + "; ".join(wrong) + ".")
    return entries


def _entry(word: str, allow_outage: bool) -> Entry:
    fault, colon, rest = word.partition(":")
    if fault not in known_faults():
        raise BadParameters(f"there is no fault {fault!r}; expected one of {', '.join(known_faults())}")
    options = _options(template_of(fault))
    free = [name for name in options if name not in FIXED]
    given: dict[str, str] = {}
    for pair in rest.split(";") if colon else []:
        key, equals, value = pair.partition("=")
        if not equals or key not in free:
            raise BadParameters(f"{pair!r} is not name=value with one of {', '.join(free)}")
        if key in given:
            raise BadParameters(f"{key} is given twice")
        given[key] = _value(options[key], value)
    if given.get(OUTAGE) == "true" and not allow_outage:
        raise BadParameters(f"it asks for {OUTAGE}=true, which the game day itself has to allow as well")
    if needs_outage(fault) and given.get(OUTAGE) != "true":
        raise BadParameters(
            f"it leaves the cluster without a majority, so the entry has to say so ({fault}:{OUTAGE}=true), and the "
            f"game day has to allow it ({OUTAGE}=true)"
        )
    return Entry(fault, template_of(fault), given, likeness(fault, given))


def needs_outage(fault: str) -> bool:
    """Tell whether a fault may only be injected with ``allow-outage``."""
    return fault in FAULTS and FAULTS[fault].outage


def _value(option: click.Option, text: str) -> str:
    try:
        value: Any = option.type(text, param=option, ctx=None)
    except click.UsageError as error:
        raise BadParameters(error.format_message().rstrip(".")) from error
    return as_text(value)


def likeness(fault: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return every parameter that runs must share to be comparable, with its value."""
    options = {name: describe(option) for name, option in _options(template_of(fault)).items()}
    return {
        name: given.get(name, known.default or "")
        for name, known in sorted(options.items())
        if name not in (*FIXED, *NOT_LIKENESS) and not name.startswith("abort-")
    }


def alike(fault: str, one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Tell whether two runs of a fault, of whatever version of the pack, had parameters that make them comparable.

    A parameter that one of them does not know, since it came with a later version, has its default there; one that is
    not known any more does not count.
    """
    defaults = likeness(fault, {})
    return all(one.get(name, value) == other.get(name, value) for name, value in defaults.items())


def child_name(game_day: str, number: int, fault: str) -> str:
    """Return the name of a game day's drill: always the same, and never too long for a label."""
    tail = f"-{number:02d}-{fault}"
    if len(game_day) + len(tail) <= NAME_LENGTH:
        return game_day + tail
    mark = hashlib.sha256(game_day.encode()).hexdigest()[:6]
    return f"{game_day[: NAME_LENGTH - len(tail) - 7].rstrip('-.')}-{mark}{tail}"
