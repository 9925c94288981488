"""What set-config has to do: settings that were asked for against those that are there. Pure functions."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from steps.mysql.cnf import agrees, loose_in, merged, same, settings_of
from steps.mysql.settings import Setting
from steps.mysql.settings_files import Files

WIDTH = 80
"""Columns of a terminal, which a table keeps to."""
NARROWEST = 8
HEAD = ("setting", "kind", "where", "now", "wanted", "takes effect")
NOTHING = "nothing"
COMPILED, DYNAMIC, COMMAND_LINE = "COMPILED", "DYNAMIC", "COMMAND_LINE"
"""Where a server has a value from (``variable_source``): nobody has said any; set since it started; its arguments."""


@dataclass(frozen=True)
class State:
    """One member's settings.

    Attributes:
        pod: it runs in.
        settings: its global variables, by name.
        persisted: what its mysqld-auto.cnf has, which counts more than any my.cnf, by name.
        sources: where it has the values from of which the default is asked for, by name.
    """

    pod: str
    settings: Mapping[str, str]
    persisted: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def has(self, one: Setting) -> bool:
        """Tell whether it runs with a setting, and will after its next start."""
        if one.is_default:
            return one.name not in self.persisted and self.runs_with(one)
        kept = self.persisted.get(one.name)
        will = kept is None or agrees(one.name, one.written, {**self.settings, one.name: kept})
        return will and self.runs_with(one)

    def runs_with(self, one: Setting) -> bool:
        """Tell whether it runs with a setting. A default that was set while it ran is not known from another value."""
        if one.is_default:
            return self.sources.get(one.name) == COMPILED
        return one.name in self.settings and agrees(one.name, one.written, self.settings)

    def took(self, one: Setting) -> bool:
        """Tell whether it has a setting that it has just been given, or was just started with."""
        was_set = one.is_default and one.name not in self.persisted and self.sources.get(one.name) == DYNAMIC
        return was_set or self.has(one)


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        wanted: settings.
        dynamic: name to whether it can be set while the server runs.
        states: every member.
        before: what is written down.
        after: what is to be.
        dropped: names that the ConfigMap has and spec.mycnf has not, where that is mended.
    """

    wanted: tuple[Setting, ...]
    dynamic: Mapping[str, bool]
    states: tuple[State, ...]
    before: Files
    after: Files
    dropped: tuple[str, ...] = ()

    @property
    def lacking(self) -> dict[str, list[Setting]]:
        """What each member lacks, by pod; members that lack nothing are left out."""
        found = {state.pod: [one for one in self.wanted if not state.has(one)] for state in self.states}
        return {pod: settings for pod, settings in found.items() if settings}

    @property
    def restarts(self) -> list[str]:
        """Pods that do not run with a static setting."""
        static = [one for one in self.wanted if not self.dynamic[one.name]]
        return [state.pod for state in self.states if not all(state.runs_with(one) for one in static)]

    @property
    def static(self) -> set[str]:
        """Names of the settings that take effect with a restart."""
        return {name for name, dynamic in self.dynamic.items() if not dynamic}

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be done."""
        return not self.lacking and self.before == self.after

    def table(self) -> str:
        """Return what is, what is wanted, and how it takes effect, in lines of at most `WIDTH` columns."""
        rows: list[Sequence[str]] = [HEAD]
        for one in self.wanted:
            rows += self._rows(one)
        rows += [(name, "", "ConfigMap", settings_of(self.before.file)[name], NOTHING, "") for name in self.dropped]
        return "\n".join(columns(rows))

    def _rows(self, one: Setting) -> list[tuple[str, ...]]:
        dynamic = self.dynamic[one.name]
        groups: dict[tuple[str, str], list[str]] = {}
        for state in self.states:
            shown = state.settings.get(one.name, NOTHING)
            kept = state.persisted.get(one.name)
            if kept is not None and not same(kept, shown):
                shown += f" ({kept} persisted)"
            later = not dynamic and not state.runs_with(one)
            effect = "is so" if state.has(one) else "restart" if later else "at once"
            groups.setdefault((shown, effect), []).append(state.pod)
        for where, text in (("spec.mycnf", self.before.mycnf or ""), ("ConfigMap", self.before.file)):
            told = settings_of(text).get(one.name)
            done = told is None if one.is_default else told is not None and same(told, one.written)
            effect = "is so" if done else "new pods" if where == "ConfigMap" else "written"
            groups.setdefault((NOTHING if told is None else told, effect), []).append(where)
        made = [(", ".join(places), now, one.written, effect) for (now, effect), places in groups.items()]
        kind = "dynamic" if dynamic else "static"
        return [(one.name if not n else "", kind if not n else "", *row) for n, row in enumerate(made)]


def to_set(files: Files, wanted: Sequence[Setting]) -> Files:
    """Return what is to be written down where settings are asked for: the rest stays as it is."""
    values = {one.name: one.written for one in wanted if not one.is_default}
    drop = [one.name for one in wanted if one.is_default]
    mycnf = _merged(files.mycnf or "", values, drop) if values or files.mycnf else files.mycnf
    return Files(mycnf, _merged(files.file, values, drop))


def to_mend(files: Files) -> tuple[Files, tuple[str, ...]]:
    """Return what is to be written down where the ConfigMap is mended to spec.mycnf, and what is dropped from it."""
    spec, file = settings_of(files.mycnf or ""), settings_of(files.file)
    dropped = tuple(name for name in file if name not in spec)
    # What the spec lets a server pass over may well be unknown to it.
    return Files(files.mycnf, _merged(files.file, spec, dropped, loose_in(files.mycnf or ""))), dropped


def _merged(text: str, values: Mapping[str, str], drop: Sequence[str] = (), loose: Collection[str] = ()) -> str:
    """Return a text with settings in it; the very text where it has them, however it writes them."""
    has = settings_of(text)
    lacking = {name: value for name, value in values.items() if name not in has or not same(has[name], value)}
    drop = [name for name in drop if name in has]
    return merged(text, lacking, drop, loose) if lacking or drop else text


def columns(rows: Sequence[Sequence[str]], width: int = WIDTH) -> list[str]:
    """Return rows as lines in columns; cells are wrapped so that no line is longer than `width`.

    What stands first is a name, to be searched for and copied, and so whole: on a line of its own where it is longer
    than its column.
    """
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for first, *others in rows:
        if len(first) > widths[0]:
            lines.append(first)
            first = ""
        cells = [[first], *(_cell(text, size) for text, size in zip(others, widths[1:], strict=True))]
        for n in range(max(map(len, cells))):
            parts = [(cell[n] if n < len(cell) else "").ljust(size) for cell, size in zip(cells, widths, strict=True)]
            lines.append("  ".join(parts).rstrip())
    return lines


def _cell(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
