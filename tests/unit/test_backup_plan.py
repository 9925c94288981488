"""Plans and small decisions of a backup: chunks, blocks, expressions, patterns, which server, what S3's errors mean."""

from __future__ import annotations

import json
import sqlite3

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from steps.backup.backup import backup, choose
from steps.backup.budget import COPIES, FIXED_MIB, LARGEST_PART, MIB, READER_MIB, SMALLEST_PART, budget
from steps.backup.chunks import KeyRange, plan, split
from steps.backup.dump_catalog import Selection
from steps.backup.dump_columns import Column, key_of
from steps.backup.dump_ddl import display, sql_account
from steps.backup.dump_keys import Keys
from steps.backup.layout import BadLayout
from steps.backup.objects import MOST_PARTS, NoObject, part_size, told
from steps.backup.pace import Pace
from steps.errors import BadParameters, StepError, Temporary
from steps.log import SLOWEST, Progress
from steps.mysql.topology import Member, Topology


def gapless(whole: KeyRange, pieces: list[KeyRange]) -> bool:
    """Whether the pieces are the whole, each key once."""
    edges = [whole.low - 1, *(piece.high for piece in pieces)]
    return (
        all(piece.low == before + 1 for piece, before in zip(pieces, edges, strict=False)) and edges[-1] == whole.high
    )


@pytest.mark.parametrize(
    "whole", [KeyRange(1, 3000, 3000), KeyRange(-(2**63), 2**64 - 1, 10**9), KeyRange(5, 5, 10**6)]
)
@pytest.mark.parametrize("parts", [0, 1, 2, 7, 100])
def test_parts_are_the_whole(whole: KeyRange, parts: int) -> None:
    pieces = split(whole, parts)
    assert gapless(whole, pieces) and 1 <= len(pieces) <= max(1, parts)
    assert max(piece.span for piece in pieces) - min(piece.span for piece in pieces) <= 1


def test_chunks_are_even_where_keys_are() -> None:
    planned = plan(KeyRange(1, 3000, 3000), 529, 512_000, lambda keys: keys.span)
    assert [(keys.low, keys.high) for keys in planned] == [(1, 1000), (1001, 2000), (2001, 3000)]


def test_a_table_without_statistics_is_one_chunk() -> None:
    assert plan(KeyRange(1, 10**12, 0), 0, 64_000_000, lambda keys: 1 / 0) == [KeyRange(1, 10**12, 0)]


def test_crowded_keys_are_cut_finer_and_empty_ranges_joined() -> None:
    """All but one of a million rows have keys below 1,001,000; the last has the largest key there is."""
    whole = KeyRange(1000, 2**63 - 1, 1_000_000)

    def rows(keys: KeyRange) -> int:
        return max(0, min(keys.high, 1_001_000) - max(keys.low, 1000)) + int(keys.high == whole.high)

    planned = plan(whole, 1000, 64_000_000, rows)
    assert gapless(whole, planned)
    assert max(rows(keys) for keys in planned) <= 2 * 64_000
    assert len(planned) < 60


def test_columns_are_asked_for_as_they_are_unless_text_would_lose_something() -> None:
    assert Column("a", "INT", False, False).selected == "`a`"
    assert "AS DOUBLE" in Column("a", "float", True, False).selected
    with pytest.raises(ValueError, match="type hologram"):
        Column("a", "hologram", False, False).form  # noqa: B018


COMPOSITE = (
    Column("a", "varchar", False, False, "latin1"),
    Column("b", "int", False, False),
    Column("c", "datetime", False, False),
)


def test_stretches_of_a_key_meet_without_gap_or_overlap() -> None:
    """In Python's own order of tuples, for every row: it is in exactly one of three stretches that share their ends."""
    edges = [("4142", 5, "2020-01-01 00:00:00"), ("42", 7, "1999-12-31 23:59:59")]
    stretches = [Keys((), edges[0], False), Keys(edges[0], edges[1], False), Keys(edges[1])]
    rows = [
        (a, b, c)
        for a in ("A", "AB", "B", "")
        for b in (4, 5, 6, 7, 8)
        for c in ("1999-12-31 23:59:59", "2020-01-01 00:00:00", "2020-01-01 00:00:01")
    ]
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (a TEXT, b INT, c TEXT)")
    database.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    found: list[tuple[str, int, str]] = []
    for keys in stretches:
        condition = keys.condition(COMPOSITE).replace("_latin1 X'4142'", "'AB'").replace("_latin1 X'42'", "'B'")
        found += database.execute(f"SELECT a, b, c FROM t WHERE {condition} ORDER BY a, b, c").fetchall()
    assert found == sorted(rows)


def test_a_stretch_comes_back_from_the_manifest_and_a_damaged_one_runs_no_sql() -> None:
    for keys in (Keys(), Keys((1,), (2,), partition="p"), Keys(("00", 1), ("FF", -1), False), Keys(offset=7)):
        assert Keys.parse(keys.described()) == keys
    for value in ("x", "4", "' OR 1", "41' OR '", 5):
        with pytest.raises(BadLayout, match="no value of column a"):
            Keys((value,)).condition(COMPOSITE)
    for value in ("x", "5 OR 1", "5"):
        with pytest.raises(BadLayout):
            Keys(("41", value)).condition(COMPOSITE)
    with pytest.raises(BadLayout):
        Keys(("41", 1, "2020' OR '1")).condition(COMPOSITE)


def test_a_key_of_beginnings_or_of_two_directions_gives_no_order() -> None:
    a, b = COMPOSITE[:2]
    assert key_of([("b", None, "A"), ("a", None, "A")], COMPOSITE) == (b, a)
    assert key_of([("b", None, "D")], COMPOSITE) == (b,)
    assert key_of([("a", 10, "A")], COMPOSITE) == key_of([("a", None, "A"), ("b", None, "D")], COMPOSITE) == ()
    assert key_of([], COMPOSITE) == ()


def test_a_rate_is_kept_by_all_takers_together() -> None:
    pace = Pace(1000, burst=0.5)
    assert pace.due(500, 100.0) == pytest.approx(0)
    assert [pace.due(500, 100.0), pace.due(500, 100.0)] == pytest.approx([0.5, 1.0])
    assert pace.due(1000, 200.0) == pytest.approx(0.5), "a pause saves up no more than the burst"


def test_patterns_choose_schemas_and_tables() -> None:
    everything = Selection()
    assert everything.schema("a") and everything.table("a", "b")
    some = Selection(("shop", "logs.2026_*"), ("shop.tmp*",))
    assert some.table("shop", "orders") and not some.table("shop", "tmp_1")
    assert some.table("logs", "2026_01") and not some.table("logs", "2025_12")
    assert some.schema("logs") and not some.schema("other")
    assert everything.user("shopper") and not everything.user("mysql.sys") and not everything.user("mysqlbackup")


def test_accounts_are_quoted_whatever_they_are_called() -> None:
    assert display(("o'b\\", "%")) == "'o\\'b\\\\'@'%'"
    assert sql_account(("a`b", "10.%")) == "`a``b`@`10.%`"


def member(name: str, state: str = "ONLINE", address: str = "127.0.0.1") -> Member:
    return Member(f"id-{name}", name, 3306, state, "", "9.7.4", name, address)


def test_the_secondary_with_the_least_to_do_is_read() -> None:
    primary, one, two = member("demo-0"), member("demo-1"), member("demo-2")
    whole = Topology("demo", 3, (primary, one, two), primary, True)
    assert choose(whole, {"id-demo-0": 0, "id-demo-1": 9, "id-demo-2": 3}) is two
    assert choose(whole, {"id-demo-1": 9}) is one, "one of which nothing is known comes last"
    late = Topology("demo", 3, (primary, member("demo-1", "RECOVERING"), member("demo-2", address="")), primary, True)
    assert choose(late, {}) is primary
    assert choose(Topology("demo", 1, (primary,), primary, True), {}) is primary


def test_the_server_is_read_that_was_asked_for() -> None:
    primary, one, two = member("demo-0"), member("demo-1"), member("demo-2", "RECOVERING")
    whole = Topology("demo", 3, (primary, one, two), primary, True)
    assert choose(whole, {}, "primary") is choose(whole, {}, "demo-0") is primary
    assert choose(whole, {}, "secondary") is choose(whole, {}, "demo-1") is one
    with pytest.raises(Temporary, match="demo-2 is RECOVERING"):
        choose(whole, {}, "demo-2")
    with pytest.raises(BadParameters, match="'demo-3': it has demo-0, demo-1, demo-2"):
        choose(whole, {}, "demo-3")
    with pytest.raises(Temporary, match="no ONLINE secondary"):
        choose(Topology("demo", 1, (primary,), primary, True), {}, "secondary")


@pytest.mark.parametrize("option", [{"server": "demo-0"}, {"rate_limit": 5.0}])
def test_the_operator_takes_no_orders_that_it_cannot_keep(option: dict[str, object]) -> None:
    given = {"include": None, "exclude": None, "parallel": 4, "server": None, "rate_limit": 0.0, "memory": 256}
    with pytest.raises(BadParameters, match="method=operator"):
        backup.function(namespace="tiphys", cluster="demo", method="operator", **given | option)


def test_memory_gives_connections_and_parts() -> None:
    assert budget(256, 4).readers == 4
    assert budget(256, 1).part_bytes == LARGEST_PART
    for memory in (144, 200, 256, 500, 4000):
        for wanted in (1, 4, 32):
            made = budget(memory, wanted)
            assert 1 <= made.readers <= wanted and SMALLEST_PART <= made.part_bytes <= LARGEST_PART
            assert FIXED_MIB + made.readers * (READER_MIB + COPIES * made.part_bytes / MIB) <= memory
    with pytest.raises(BadParameters, match="memory=120"):
        budget(120, 4)


@pytest.mark.parametrize("first", [SMALLEST_PART, LARGEST_PART])
def test_the_largest_object_fits_into_the_parts_that_s3_takes(first: int) -> None:
    sizes = [part_size(first, number) for number in range(MOST_PARTS)]
    assert sum(sizes) >= 5 * 1024**4 and max(sizes) <= 5 * 1024**3
    assert sum(sizes[:900]) >= 4 * 1024**3 and set(sizes[:900]) == {first}


def refused(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (refused("SlowDown", 503), Temporary, "cannot write x"),
        (refused("Odd", 500), Temporary, "cannot write x"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), Temporary, "127.0.0.1:1"),
        (TimeoutError("too slow"), Temporary, "too slow"),
        (refused("NoSuchKey", 404), NoObject, "cannot write x"),
        (refused("NoSuchBucket", 404), StepError, "Make the bucket"),
        (refused("SignatureDoesNotMatch", 403), StepError, "secretKey"),
        (NoCredentialsError(), StepError, "Secret tiphys-s3"),
    ],
)
def test_errors_of_s3_say_whether_another_try_helps(error: Exception, kind: type[StepError], hint: str) -> None:
    with pytest.raises(StepError, match=hint) as caught, told("write x", "tiphys"):
        raise error
    assert type(caught.value) is kind


def test_progress_is_told_less_often_as_work_takes_longer_and_ends_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = Progress("rows", 100, "rows", interval=2)
    assert [bar.pause(elapsed) for elapsed in (0, 30, 100, 100_000)] == [2, 2, 5, SLOWEST]
    bar.interval = 0
    bar.advance(50)
    bar.advance(100)
    bar.finish()
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["percent"] for line in told] == [50.0, 99.9, 100.0], "the total was an estimate"
    assert told[-1]["done"] == told[-1]["total"] == 150 and told[-1]["eta_seconds"] == 0
