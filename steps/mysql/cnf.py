"""The text of a my.cnf: read as the server reads it, changed line by line, and values compared however written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_SIZE = re.compile(r"(\d+)([kmgtpe])")
_UNITS = {letter: 1 << 10 * power for power, letter in enumerate("kmgtpe", 1)}
_WORDS = {"on": "1", "true": "1", "yes": "1", "off": "0", "false": "0", "no": "0"}
_COMMENT = re.compile(r"""('[^']*'|"[^"]*")|#.*""")
_WHOLE = frozenset({"ansi", "traditional"})
"""Modes of sql_mode that stand for several, which the server then lists beside them."""
_OPTIONS = {"time_zone": "default_time_zone"}
"""Variables that a my.cnf sets by another name: with their own in it a server does not start."""
_VARIABLES = {option: variable for variable, option in _OPTIONS.items()}
PLUGINS = re.compile(r"(group_replication|clone|mysqlx|rpl_semi_sync|authentication|connection_control)_.*|.*\..*")
"""Variables of plugins and components. A new pod's server starts before it has any: it must not need to know them."""
_BLOCKS = {
    8: ("replica_checkpoint_group", "slave_checkpoint_group"),
    128: ("join_buffer_size",),
    1024: (
        "innodb_log_buffer_size",
        "max_allowed_packet",
        "max_heap_table_size",
        "net_buffer_length",
        "query_alloc_block_size",
        "query_prealloc_size",
        "range_alloc_block_size",
        "replica_max_allowed_packet",
        "replica_pending_jobs_size_max",
        "set_operations_buffer_size",
        "slave_max_allowed_packet",
        "slave_pending_jobs_size_max",
        "thread_stack",
        "transaction_alloc_block_size",
        "transaction_prealloc_size",
    ),
    4096: (
        "binlog_cache_size",
        "binlog_stmt_cache_size",
        "key_buffer_size",
        "max_binlog_cache_size",
        "max_binlog_size",
        "max_binlog_stmt_cache_size",
        "max_relay_log_size",
        "read_buffer_size",
        "rpl_read_size",
        "select_into_buffer_size",
    ),
    8192: ("innodb_fsync_threshold",),
    1 << 20: ("innodb_redo_log_capacity",),
}
"""Bytes (of the first, groups) to whole multiples of which a server rounds a number down (9.7.4, tried)."""


@dataclass(frozen=True)
class Line:
    """One line of a my.cnf.

    Attributes:
        raw: as it is written.
        section: it stands in, in lower case; empty before the first.
        heading: whether it begins that section.
        name: of the variable, with underscores; empty where the line sets none.
        value: without quotes and comment; None where only the name stands there.
        loose: whether a server may pass over a name that it does not know.
    """

    raw: str
    section: str = ""
    heading: bool = False
    name: str = ""
    value: str | None = None
    loose: bool = False

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
        name, equals, value = _COMMENT.sub(lambda found: found[1] or "", line).partition("=")
        written = name.strip().replace("-", "_").lower()
        name = written.removeprefix("loose_")
        name = _VARIABLES.get(name, name)
        said = _unquoted(value.strip()) if equals else None
        found.append(Line(raw, section, name=name, value=said, loose=name != "" and written.startswith("loose_")))
    return found


def _quoted(value: str) -> str:
    """Return a value as it has to stand in a my.cnf: nothing of it is a comment."""
    mark = "'" if '"' in value else '"'
    return f"{mark}{value}{mark}" if "#" in value or value != value.strip() else value


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def settings_of(text: str) -> dict[str, str]:
    """Return what a cnf fragment sets for the server, by the variable's name; the last of several counts."""
    return {line.name: line.written for line in read(text, "mysqld") if line.name and line.is_servers}


def loose_in(text: str) -> set[str]:
    """Return the variables of which a cnf fragment says that a server may pass over them."""
    return {line.name for line in read(text, "mysqld") if line.loose and line.is_servers}


def merged(cnf: str, settings: Mapping[str, str], drop: Collection[str] = (), loose: Collection[str] = ()) -> str:
    """Return a my.cnf with settings in it: in place of what it says of them, or at the end; the rest stays as it is.

    Args:
        cnf: the text of a my.cnf, perhaps empty; a setting that it has more than once is left in it once.
        settings: name to value, as it is to stand there.
        drop: names of settings that are to be in it no more.
        loose: names that a server may not know: it starts without them. Those that the text has so remain so.
    """
    free = {*loose, *loose_in(cnf), *(name for name in settings if PLUGINS.fullmatch(name))}

    def told_as(name: str) -> str:
        return f"{'loose_' if name in free else ''}{_OPTIONS.get(name, name)}={_quoted(settings[name])}"

    lines, told = list[str](), set[str]()
    last = -1
    for line in read(cnf):
        ours = line.is_servers and (line.name in settings or line.name in drop)
        if not ours:
            lines.append(line.raw)
        elif line.name in settings and line.name not in told:
            lines.append(told_as(line.name))
            told.add(line.name)
        if line.section == "mysqld" and line.raw.strip():
            last = len(lines)
    missing = [told_as(name) for name in settings if name not in told]
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
    text = re.sub(r"^utf8(?=_|$)", "utf8mb3", value.strip().lower())  # as the server says it
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
    asked = _plain(wanted)
    if asked.isdigit() and has.isdigit() and rounded(name, int(asked), settings) == int(has):
        return True
    if name in ("optimizer_switch", "optimizer_trace"):
        # Each word switches one thing, and the server lists all of them.
        return set(_words(wanted)) <= set(_words(has))
    if name == "sql_mode" and _WHOLE & set(_words(wanted)):
        return set(_words(wanted)) <= set(_words(has))
    return False


def rounded(name: str, value: int, settings: Mapping[str, str]) -> int:
    """Return what a server makes of a number that is in a variable's range.

    Args:
        name: of the variable.
        value: asked for.
        settings: the server's global variables.
    """
    if name == "innodb_buffer_pool_size":  # up, to whole chunks for each instance
        step = int(settings.get("innodb_buffer_pool_chunk_size") or 1)
        step *= int(settings.get("innodb_buffer_pool_instances") or 1)
        return -(-value // step) * step
    for size, names in _BLOCKS.items():
        if name in names:
            return value - value % size
    return value
