"""Reads SQL files of a dump as values: their statements one by one, and what key a table has.

MySQL's servers take one statement at a time and know no ``DELIMITER``; that word is the mysql client's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SINGLE, _DOUBLE = r"""'[^'\\]*(?:\\.[^'\\]*)*'""", r'''"[^"\\]*(?:\\.[^"\\]*)*"'''
_COMMENT = r"/\*(?![!+]).*?\*/|(?:--(?=\s|\Z)|\#)[^\n]*"


def _skipped(single: str, double: str) -> re.Pattern[str]:
    return re.compile(f"(?P<literal>{single}|{double}|`[^`]*`)|(?P<comment>{_COMMENT})", re.DOTALL)


_SKIPPED = _skipped(_SINGLE, _DOUBLE)
_BY_MODE = {"ANSI_QUOTES": _skipped(_SINGLE, '"[^"]*"'), "NO_BACKSLASH_ESCAPES": _skipped("'[^']*'", '"[^"]*"')}
"""How literals end under an SQL mode; the later of the two wins."""
_MODE = re.compile(r"(?:/\*!\d*\s*)?SET\s+(?:SESSION\s+)?sql_mode\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)
_DELIMITER = re.compile(r"[ \t]*DELIMITER[ \t]+(\S+)[^\n]*(?:\n|\Z)", re.IGNORECASE)
_BEGIN = re.compile(r"-- begin ([a-z ]+?) (['`\"].*)")
_END = re.compile(r"-- end ")


@dataclass(frozen=True)
class Statement:
    """One statement of a file.

    Attributes:
        sql: its text, without the delimiter.
        kind: of the object whose part of the file it stands in ("event", "user", "grants"), or empty.
        name: that object, as the file's comment names it, or empty.
    """

    sql: str
    kind: str = ""
    name: str = ""


def statements(text: str) -> Iterator[Statement]:
    """Yield a file's statements in order; comments between them are dropped, comments within them are kept.

    Where a statement ends depends on the SQL mode that those before it have set: a backslash may escape or not.
    """
    delimiter, kind, name, mode = ";", "", "", _SKIPPED
    position, parts = 0, list[str]()
    while position < len(text):
        if not parts:
            # Between two statements: blank space, comments and the client's own commands.
            if text[position].isspace():
                position += 1
                continue
            if changed := _at_line_start(text, position):
                delimiter, position = changed.group(1), changed.end()
                continue
            skipped = mode.match(text, position)
            if skipped and skipped.lastgroup == "comment":
                if begun := _BEGIN.match(skipped.group()):
                    kind, name = begun.group(1), begun.group(2)
                elif _END.match(skipped.group()):
                    kind, name = "", ""
                position = skipped.end()
                continue
        if text.startswith(delimiter, position):
            if sql := "".join(parts).strip():
                yield Statement(sql, kind, name)
                if changed := _MODE.match(sql):
                    mode = _mode(changed.group(1))
            position, parts = position + len(delimiter), []
            continue
        if skipped := mode.match(text, position):
            kept = skipped.group()
            if delimiter != ";" and skipped.lastgroup == "comment" and kept.endswith(delimiter):
                # A routine whose last line ends with a comment: dumps write the delimiter behind it all the same.
                kept = kept.removesuffix(delimiter)
            parts.append(kept)
            position += len(kept)
            continue
        end = _plain_end(text, position, delimiter)
        parts.append(text[position:end])
        position = end
    if sql := "".join(parts).strip():
        yield Statement(sql, kind, name)


def _mode(value: str) -> re.Pattern[str]:
    """Return what ends literals under a mode; one that is put back from a variable is not known, and the usual one."""
    return next((found for name, found in reversed(_BY_MODE.items()) if name in value.upper()), _SKIPPED)


def _at_line_start(text: str, position: int) -> re.Match[str] | None:
    line = text.rfind("\n", 0, position) + 1
    return _DELIMITER.match(text, line) if not text[line:position].strip() else None


def _plain_end(text: str, position: int, delimiter: str) -> int:
    """Return where the plain text ends that starts at `position`: at what may be a literal, comment or delimiter."""
    special = re.compile(r"['\"`#/-]|" + re.escape(delimiter))
    found = special.search(text, position + 1)
    return found.start() if found else len(text)


@dataclass(frozen=True)
class TableShape:
    """What matters about a table before its rows are loaded.

    Attributes:
        has_key: it has a primary key, or a unique key over whole columns that are all NOT NULL: what a group asks for.
        engine: its storage engine, as written.
    """

    has_key: bool
    engine: str


_COLUMN = re.compile(r"\s*(`(?:[^`]|``)*`)\s+(.*)")
_UNIQUE = re.compile(r"\s*UNIQUE KEY `(?:[^`]|``)*` (\(.*)")
_PARTS = re.compile(r"\((`(?:[^`]|``)*`(?: DESC)?(?:,`(?:[^`]|``)*`(?: DESC)?)*)\)")
_NAME = re.compile(r"`(?:[^`]|``)*`")
_ENGINE = re.compile(r"\bENGINE\s*=\s*(\w+)", re.IGNORECASE)


def create_table(text: str) -> str | None:
    """Return the CREATE TABLE statement of a table's file, or None where there is none."""
    found = (s.sql for s in statements(text) if re.match(r"CREATE\s+TABLE\b", s.sql, re.IGNORECASE))
    return next(found, None)


def table_shape(sql: str) -> TableShape:
    """Read a CREATE TABLE statement as ``SHOW CREATE TABLE`` writes it: one column or key a line."""
    # Words within comments and defaults are no definitions; a name keeps its own text.
    bare = _SKIPPED.sub(lambda found: found.group() if found.group().startswith("`") else "''", sql)
    required: set[str] = set()
    unique: list[set[str]] = []
    primary = False
    for line in bare.splitlines()[1:]:
        if column := _COLUMN.match(line):
            definition = column.group(2)
            # A virtual column's unique key is no key to a group.
            if "NOT NULL" in definition and " VIRTUAL" not in definition:
                required.add(column.group(1))
            primary = primary or " PRIMARY KEY" in definition
        elif line.lstrip().startswith("PRIMARY KEY"):
            primary = True
        elif (key := _UNIQUE.match(line)) and (whole := _PARTS.match(key.group(1))):
            unique.append(set(_NAME.findall(whole.group(1))))
    engine = _ENGINE.findall(bare)
    return TableShape(primary or any(columns <= required for columns in unique), engine[-1] if engine else "InnoDB")


_ENUM = re.compile(r"\s*(`(?:[^`]|``)*`) enum\(((?:'(?:[^']|'')*',?)+)\)")
_MEMBER = re.compile(r"'((?:[^']|'')*)'")


def enums_without_empty(sql: str) -> list[str]:
    """Return a CREATE TABLE statement's ENUM columns that do not have the empty string among their values.

    Such a column can hold an empty string all the same: the error value, which the server keeps in place of a value
    that it did not know.
    """
    found = [column for line in sql.splitlines()[1:] if (column := _ENUM.match(line))]
    lacking = [column.group(1) for column in found if "" not in _MEMBER.findall(column.group(2))]
    return [name[1:-1].replace("``", "`") for name in lacking]
