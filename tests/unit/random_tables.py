r"""Hypothesis strategies: tables of every column type, key and partitioning that MySQL 9 has, and rows for them.

Values are SQL literals. They need not fit: the tests insert them in a lax mode, and whatever the server made of them is
what must come back. A table that the server does not take (a row too wide, say) is left out by its test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hypothesis import strategies as st

LABELS = ["a", "B", "x y", "c''d", r"e\\f", "g\th", "%s", "`", '"', "ü漢", "0", "1", "2", "null", r"\\N", ""]
SHARP = [
    "'",
    '"',
    "`",
    "%",
    "@",
    ".",
    " ",
    "\\",
    "/",
    "\t",
    "\n",
    "ü",
    "漢",
    "#",
    "--",
    "$",
    ";",
    "|",
    "~",
    "\x7f",
    "é",
]
REFERENCE = "4326"


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@dataclass(frozen=True)
class Kind:
    """A column type.

    Attributes:
        sql: as in CREATE TABLE.
        values: SQL literals.
        key: how it stands in a key; empty where it cannot.
        whole: whether it is a plain integer, by which MySQL partitions.
        extra: how the tests read it beside its text, so that no difference hides behind the same text.
    """

    sql: str
    values: st.SearchStrategy[str]
    key: str = "{}"
    whole: bool = False
    extra: str = ""


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    attributes: str
    nullable: bool
    generated: bool = False

    @property
    def sql(self) -> str:
        return f"{quoted(self.name)} {self.kind.sql} {self.attributes}"

    @property
    def seen(self) -> str:
        """SQL of its value as the tests compare it."""
        name = quoted(self.name)
        return f"CONCAT_WS('/', HEX({name}), {self.kind.extra.format(name)})" if self.kind.extra else f"HEX({name})"


@dataclass(frozen=True)
class Table:
    name: str
    columns: list[Column]
    keys: list[str]
    options: str
    rows: list[list[str]] = field(default_factory=list)

    @property
    def create(self) -> str:
        parts = ", ".join([column.sql for column in self.columns] + self.keys)
        return f"CREATE TABLE {quoted(self.name)} ({parts}) {self.options}"

    @property
    def insert(self) -> str:
        names = ", ".join(quoted(column.name) for column in self.columns if not column.generated)
        rows = ", ".join(f"({', '.join(row)})" for row in self.rows)
        return f"INSERT IGNORE INTO {quoted(self.name)} ({names}) VALUES {rows}"

    @property
    def select(self) -> str:
        """A statement that gives every value in a form that two of them share only if they are the same."""
        return f"SELECT {', '.join(column.seen for column in self.columns)} FROM {quoted(self.name)}"


def names(most: int = 24) -> st.SearchStrategy[str]:
    plain = st.text("abcXYZ019_", min_size=1, max_size=most)
    odd = st.lists(st.sampled_from([*SHARP, "n", "N", "0"]), min_size=1, max_size=most // 3).map("".join)
    any_letter = st.text(st.characters(min_codepoint=1, max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8)
    return st.one_of(plain, odd, any_letter)


def numbered(name: str, number: int) -> str:
    """Return a name that no other number has, whatever a collation takes for the same, of 64 characters at most."""
    return f"{name[:62]}{number}" if number else f"{name[:63]}_"


def hexed(data: bytes) -> str:
    return f"X'{data.hex()}'"


BYTES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"", b"\0", b"\\N", b"\\", b"\t\n\r\0\x1a", b"\xff\xfe", b"NULL", b"\x00\x01\x02" * 70, b"'\"`"]),
)
TEXTS = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        ["", "\\N", "\\", "\\\\", "\t", "\n", "a\tb\nc\\d\r\0", "😀漢字ü", "N", "NULL", "  pad  ", "%s", "x" * 400]
    ),
)
WIDE = {"utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be", "ucs2": "utf-16-be"}
SAME = {"gb18030", "gbk", "gb2312", "big5", "sjis", "cp932", "ujis", "euckr"}
DOUBLE_BYTES = [b"\\", b"~", b"\x81\xad", b"\x81\x5f", b"\xf0\x40", b"\x87\x90", b"\xa1\xc0", b"\xa2\xb0", b"\xd8\x30"]


def texts_in(charset: str) -> st.SearchStrategy[str]:
    """Values of a text column: what Unicode has of the character set, and bytes of its own."""
    narrow = "utf-8" if charset.startswith("utf8") else charset if charset in SAME else "latin-1"
    encoding = WIDE.get(charset, narrow)
    encoded = TEXTS.map(lambda text: hexed(text.encode(encoding, "replace")))
    own = st.lists(st.sampled_from(DOUBLE_BYTES), max_size=3).map(lambda parts: hexed(b"".join(parts)))
    return st.one_of(encoded, own, BYTES.map(hexed))


INTEGERS = {"TINYINT": 8, "SMALLINT": 16, "MEDIUMINT": 24, "INT": 32, "BIGINT": 64}


@st.composite
def integer(draw: Any) -> Kind:
    name = draw(st.sampled_from(sorted(INTEGERS)))
    form = draw(st.sampled_from(["", " UNSIGNED", " UNSIGNED ZEROFILL"]))
    low, high = (0, 2 ** INTEGERS[name] - 1) if form else (-(2 ** (INTEGERS[name] - 1)), 2 ** (INTEGERS[name] - 1) - 1)
    values = st.one_of(st.sampled_from([low, high, 0, 1]), st.integers(low, high), st.integers(0, 20)).map(str)
    return Kind(name + form, values, whole=True)


@st.composite
def decimal(draw: Any) -> Kind:
    digits = draw(st.one_of(st.integers(1, 65), st.just(65)))
    scale = draw(st.one_of(st.integers(0, min(30, digits)), st.just(min(30, digits))))
    whole = digits - scale
    extreme = f"{'9' * whole or '0'}.{'9' * scale}"
    values = st.one_of(
        st.sampled_from([extreme, f"-{extreme}", "0", "-0.0", "1e-30", "0.5"]),
        st.decimals(allow_nan=False, allow_infinity=False, places=scale).map(lambda value: f"{value:f}"),
    )
    return Kind(f"DECIMAL({digits},{scale})", values.map(lambda text: f"'{text}'"))


EXTREMES = ["1.7976931348623157e308", "-1.7976931348623157e308", "4.9e-324", "2.2250738585072014e-308", "-0.0", "0.1"]
SINGLE = [
    "3.402823466e38",
    "-3.402823466e38",
    "1.17549435e-38",
    "1e-45",
    "16777217",
    "0.3",
    "-0.0",
    "123456.789",
    "1e20",
]


@st.composite
def floating(draw: Any) -> Kind:
    name = draw(st.sampled_from(["FLOAT", "DOUBLE", "FLOAT(9,3)", "DOUBLE(12,4)", "FLOAT UNSIGNED", "FLOAT(53)"]))
    width = 32 if name.startswith("FLOAT") and name != "FLOAT(53)" else 64
    some = st.floats(allow_nan=False, allow_infinity=False, width=width).map(lambda value: repr(float(value)))
    return Kind(name, st.one_of(st.sampled_from(SINGLE if width == 32 else EXTREMES), some), extra="CAST({} AS DOUBLE)")


@st.composite
def bits(draw: Any) -> Kind:
    width = draw(st.one_of(st.integers(1, 64), st.just(64)))
    return Kind(
        f"BIT({width})", st.one_of(st.just(2**width - 1), st.integers(0, 2**width - 1)).map(lambda n: f"b'{n:b}'")
    )


@st.composite
def text(draw: Any, collations: tuple[tuple[str, str], ...]) -> Kind:
    charset, collation = draw(st.sampled_from(collations))
    size = draw(st.integers(0, 40))
    name = draw(st.sampled_from([f"CHAR({size})", f"VARCHAR({size})", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"]))
    key = "{}" if "CHAR" in name and size else "{}(9)" if "TEXT" in name else ""
    return Kind(f"{name} CHARACTER SET {charset} COLLATE {collation}", texts_in(charset), key)


@st.composite
def binary(draw: Any) -> Kind:
    size = draw(st.integers(0, 250))
    kinds = [f"BINARY({size})", f"VARBINARY({size})", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB"]
    name = draw(st.sampled_from(kinds))
    return Kind(name, BYTES.map(hexed), "{}" if "BINARY" in name and size else "{}(9)" if "BLOB" in name else "")


@st.composite
def listed(draw: Any) -> Kind:
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=6, unique_by=lambda one: one.lower()))
    name = draw(st.sampled_from(["ENUM", "SET"]))
    charset = draw(st.sampled_from(["utf8mb4", "utf16", "gbk"]))
    most = len(labels) if name == "ENUM" else 2 ** len(labels) - 1
    values = st.integers(0, most).map(str)
    words = ",".join(f"'{label}'" for label in labels)
    return Kind(f"{name}({words}) CHARACTER SET {charset}", values, "{}", extra="{}+0")


def literal(value: Any) -> str:
    return hexed(json.dumps(value, ensure_ascii=False).encode()).replace("X'", "_utf8mb4 X'")


LETTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, LETTERS)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(LETTERS, inner, max_size=3)),
    max_leaves=6,
)
JSON = Kind("JSON", DOCUMENTS.map(literal), "", extra="CAST({} AS CHAR)")

DATES = ["0000-00-00", "2020-00-00", "0000-01-01", "9999-12-31", "2026-02-31", "1000-01-01", "1970-01-01", "2024-02-29"]
CLOCKS = ["00:00:00", "23:59:59.999999", "12:30:00.000001", "00:00:00.5"]
SPANS = ["-838:59:59", "838:59:59", "838:59:58.999999", "-00:00:00.000001", "00:00:00", "34:22:33.4"]
STAMPS = ["0000-00-00 00:00:00", "1970-01-01 00:00:01", "2038-01-19 03:14:07.999999", "2026-03-29 02:30:00"]


@st.composite
def moment(draw: Any) -> Kind:
    name = draw(st.sampled_from(["DATE", "DATETIME", "TIMESTAMP", "TIME", "YEAR"]))
    if name == "YEAR":
        return Kind(name, st.sampled_from(["0", "1901", "2155", "1999", "70"]))
    words = {"DATE": DATES, "TIME": SPANS, "TIMESTAMP": STAMPS}.get(name)
    some = st.sampled_from(words) if words else st.tuples(st.sampled_from(DATES), st.sampled_from(CLOCKS)).map(" ".join)
    fraction = "" if name == "DATE" else f"({draw(st.integers(0, 6))})"
    return Kind(name + fraction, some.map(lambda value: f"'{value}'"))


SHAPES = {
    "POINT": ["POINT(1 2)", "POINT(-89.5 179.25)"],
    "LINESTRING": ["LINESTRING(0 0,1 1,2 0)"],
    "POLYGON": ["POLYGON((0 0,1 0,1 1,0 0))"],
    "MULTIPOINT": ["MULTIPOINT((1 1),(2 2))"],
    "MULTILINESTRING": ["MULTILINESTRING((0 0,1 1),(2 2,3 3))"],
    "MULTIPOLYGON": ["MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"],
    "GEOMETRYCOLLECTION": ["GEOMETRYCOLLECTION EMPTY", "GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))"],
}


@st.composite
def shape(draw: Any) -> Kind:
    name = draw(st.sampled_from(["GEOMETRY", *SHAPES]))
    srid = draw(st.sampled_from(["", "0", REFERENCE, "3857"]))
    known = [each for shapes in SHAPES.values() for each in shapes] if name == "GEOMETRY" else SHAPES[name]
    places = st.sampled_from([srid] if srid else ["0", REFERENCE])
    values = st.tuples(st.sampled_from(known), places).map(lambda made: f"ST_GeomFromText('{made[0]}', {made[1]})")
    return Kind(f"{name} SRID {srid}" if srid else name, values, "")


@st.composite
def vector(draw: Any) -> Kind:
    size = draw(st.integers(1, 5))
    number = st.floats(-(2.0**127), 2.0**127, width=32).map(lambda value: f"{value:.9g}")
    values = st.lists(number, min_size=size, max_size=size).map(lambda each: f"STRING_TO_VECTOR('[{','.join(each)}]')")
    return Kind(f"VECTOR({size})", values, "")


@cache
def kinds(collations: tuple[tuple[str, str], ...]) -> st.SearchStrategy[Kind]:
    return st.one_of(
        integer(),
        integer(),
        decimal(),
        floating(),
        bits(),
        text(collations),
        text(collations),
        binary(),
        listed(),
        st.just(JSON),
        moment(),
        moment(),
        shape(),
        vector(),
    )


@st.composite
def table(draw: Any, collations: tuple[tuple[str, str], ...]) -> Table:
    columns = [draw(column(place, collations)) for place in range(draw(st.sampled_from([1, 2, 4, 6, 8])))]
    made = [draw(made_from(each, len(columns) + at)) for at, each in enumerate(columns[:2]) if draw(st.booleans())]
    keys, options = draw(keys_of(columns))
    columns = [*draw(st.permutations(columns)), *made]
    written = [each for each in columns if not each.generated]
    row = st.tuples(
        *(st.one_of(each.kind.values, st.just("NULL")) if each.nullable else each.kind.values for each in written)
    )
    rows = [list(each) for each in draw(st.lists(row, min_size=draw(st.sampled_from([0, 4, 8])), max_size=8))]
    return Table(draw(names()), columns, keys, options, rows)


@st.composite
def column(draw: Any, place: int, collations: tuple[tuple[str, str], ...]) -> Column:
    kind = draw(kinds(collations))
    nullable = draw(st.booleans())
    words = ["NULL" if nullable else "NOT NULL"]
    if kind.sql.startswith("TIMESTAMP") and draw(st.booleans()):
        part = kind.sql.removeprefix("TIMESTAMP")
        words.append(f"DEFAULT CURRENT_TIMESTAMP{part} ON UPDATE CURRENT_TIMESTAMP{part}")
    elif draw(st.booleans()):
        words.append(f"DEFAULT ({draw(kind.values)})")
    if place and draw(st.integers(0, 4)) == 0:
        words.append("INVISIBLE")
    if draw(st.integers(0, 4)) == 0:
        words.append("COMMENT '" + draw(TEXTS).replace("\\", "\\\\").replace("'", "''") + "'")
    return Column(numbered(draw(names()), place), kind, " ".join(words), nullable)


@st.composite
def made_from(draw: Any, of: Column, place: int) -> Column:
    """Return a generated column."""
    stored = draw(st.sampled_from(["STORED", "VIRTUAL"]))
    given = f"IF({quoted(of.name)} IS NULL, 1, 0)"
    base = draw(st.sampled_from([f"LENGTH({quoted(of.name)})", given])) if of.kind.key else given
    kind = Kind("BIGINT", st.nothing(), whole=True)
    return Column(numbered(draw(names()), place), kind, f"GENERATED ALWAYS AS ({base}) {stored}", True, generated=True)


@st.composite
def keys_of(draw: Any, columns: list[Column]) -> tuple[list[str], str]:
    """Return keys and options: a primary key of one or more columns, or only a unique one, or none at all."""
    able = [each for each in columns if each.kind.key and not each.generated]
    hard = [each for each in able if not each.nullable]
    keys, options = [], draw(st.sampled_from(["", "", "", "ROW_FORMAT=COMPRESSED", "ROW_FORMAT=REDUNDANT"]))
    chosen: list[Column] = []
    form = draw(st.integers(0, 9))
    if hard and form < 8:
        chosen = draw(st.permutations(hard))[: draw(st.integers(1, 3))]
        parts = [each.kind.key.format(quoted(each.name)) + draw(st.sampled_from(["", "", " DESC"])) for each in chosen]
        keys.append(f"{'PRIMARY KEY' if form < 7 else 'UNIQUE KEY'} ({', '.join(parts)})")
    if able and draw(st.booleans()):
        other = draw(st.sampled_from(able))
        keys.append(f"KEY {quoted(numbered(draw(names()), 1))} ({other.kind.key.format(quoted(other.name))})")
    if (
        chosen
        and form < 7
        and all(each.kind.key == "{}" for each in chosen)
        and not any("SRID" in each.kind.sql or each.kind.sql in ("GEOMETRY", *SHAPES) for each in columns)
    ):
        options += " " + draw(partitions(chosen))
    return keys, options


@st.composite
def partitions(draw: Any, key: list[Column]) -> str:
    """Return how a table is cut into partitions by its primary key, or nothing."""
    how = draw(st.integers(0, 11))
    whole = [each for each in key if each.kind.whole and not each.kind.sql.endswith("ZEROFILL")]
    part = [quoted(numbered(draw(names(12)), place)) for place in range(2)]
    if how == 0:
        return f"PARTITION BY KEY ({', '.join(quoted(each.name) for each in key)}) PARTITIONS 3"
    if how > 3 or not whole:
        return ""
    name = quoted(whole[0].name)
    if how == 1:
        return f"PARTITION BY HASH ({name}) PARTITIONS 2"
    cut = f"(PARTITION {part[0]} VALUES LESS THAN (5), PARTITION {part[1]} VALUES LESS THAN MAXVALUE)"
    return f"PARTITION BY RANGE ({name}) " + (
        f"SUBPARTITION BY HASH ({name}) SUBPARTITIONS 2 {cut}" if how == 2 else cut
    )
