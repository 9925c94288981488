"""The text of a my.cnf: read as the server reads it, changed line by line, and values compared however written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_SIZE = re.compile(r"(\d+)([kmgtpe])")
_UNITS = {letter: 1 << 10 * power for power, letter in enumerate("kmgtpe", 1)}
_WORDS = {"on": "1", "true": "1", "yes": "1", "off": "0", "false": "0", "no": "0"}
_WHOLE = frozenset({"ansi", "traditional"})
"""Modes of sql_mode that stand for several, which the server then lists beside them."""


@dataclass(frozen=True)
class Line:
    """One line of a my.cnf.

    Attributes:
        raw: as it is written.
        section: it stands in, in lower case; empty before the first.
        heading: whether it begins that section.
        name: of the variable, with underscores; empty where the line sets none.
        value: without quotes and comment; None where only the name stands there.
    """

    raw: str
    section: str = ""
    heading: bool = False
    name: str = ""
    value: str | None = None

    @property
    def is_servers(self) -> bool:
        """Whether the server reads it."""
        return self.section in ("mysqld", "server")

    @property
    def written(self) -> str:
        """The value; a name alone switches on."""
        return "ON" if self.value is None else self.value


def read(text: str, section: str = "") -> list[Line]:
    """Return the lines of a my.cnf.

    Args:
        text: of the file, or of a piece of one.
        section: in which the piece begins.
    """
    found = []
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line.split("]")[0].strip("[ ").lower()
            found.append(Line(raw, section, heading=True))
            continue
        if not line or line[0] in "#;!":
            found.append(Line(raw, section))
            continue
        name, equals, value = re.sub(r"\s#.*", "", line).partition("=")
        name = name.strip().replace("-", "_").lower().removeprefix("loose_")
        found.append(Line(raw, section, name=name, value=_unquoted(value.strip()) if equals else None))
    return found


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def settings_of(text: str) -> dict[str, str]:
    """Return what a cnf fragment sets for the server, by the variable's name; the last of several counts."""
    return {line.name: line.written for line in read(text, "mysqld") if line.name and line.is_servers}


def merged(cnf: str, settings: Mapping[str, str], drop: Collection[str] = ()) -> str:
    """Return a my.cnf with settings in it: in place of what it says of them, or at the end; the rest stays as it is.

    Args:
        cnf: the text of a my.cnf, perhaps empty; a setting that it has more than once is left in it once.
        settings: name to value, as it is to stand there.
        drop: names of settings that are to be in it no more.
    """
    lines, told = list[str](), set[str]()
    last = -1
    for line in read(cnf):
        ours = line.is_servers and (line.name in settings or line.name in drop)
        if not ours:
            lines.append(line.raw)
        elif line.name in settings and line.name not in told:
            lines.append(f"{line.name}={settings[line.name]}")
            told.add(line.name)
        if line.section == "mysqld" and line.raw.strip():
            last = len(lines)
    missing = [f"{name}={value}" for name, value in settings.items() if name not in told]
    if missing and last < 0:
        lines.append("[mysqld]")
        last = len(lines)
    if missing:
        lines[last:last] = missing
    return "\n".join(lines) + "\n"


def same(one: str, other: str) -> bool:
    """Tell whether two ways to write a value mean one: ``ON`` and ``1``, ``128M`` and ``134217728``."""
    return _plain(one) == _plain(other)


def _plain(value: str) -> str:
    text = value.strip().lower()
    if sized := _SIZE.fullmatch(text):
        return str(int(sized[1]) * _UNITS[sized[2]])
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return f"{float(text):.6f}".rstrip("0").rstrip(".")
    return _WORDS.get(text, ",".join(sorted(_words(text))))


def _words(value: str) -> list[str]:
    return [part.strip() for part in value.lower().split(",")]


def agrees(name: str, wanted: str, settings: Mapping[str, str]) -> bool:
    """Tell whether a server has the value of a variable that was asked for, which it may write in another way.

    Args:
        name: of the variable.
        wanted: as it was written down.
        settings: the server's global variables.
    """
    has = settings[name]
    if same(wanted, has):
        return True
    if name == "innodb_buffer_pool_size":  # rounded up by the server to whole chunks for each instance
        step = int(settings.get("innodb_buffer_pool_chunk_size") or 1)
        step *= int(settings.get("innodb_buffer_pool_instances") or 1)
        asked = _plain(wanted)
        return asked.isdigit() and 0 <= int(has) - int(asked) < step
    if name == "optimizer_switch":  # each word switches one thing, and the server lists all of them
        return set(_words(wanted)) <= set(_words(has))
    if name == "sql_mode" and _WHOLE & set(_words(wanted)):
        return set(_words(wanted)) <= set(_words(has))
    return False
