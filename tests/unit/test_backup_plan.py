"""Plans and small decisions of a backup: chunks, blocks, expressions, patterns, which server, what S3's errors mean."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from steps.backup.backup import choose
from steps.backup.chunks import KeyRange, blocks, plan, split
from steps.backup.dump_catalog import Selection
from steps.backup.dump_columns import Column
from steps.backup.dump_ddl import display, sql_account
from steps.backup.objects import NoObject, told
from steps.errors import StepError, Temporary
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


def test_blocks_are_the_chunk_and_hold_about_as_many_rows_each() -> None:
    chunk = KeyRange(-50, 99_949, 10_000)
    cut = list(blocks(chunk, 100))
    assert gapless(chunk, cut)
    assert {block.span for block in cut[:-1]} == {52_420}, "5242 rows of 100 bytes, one key in ten"
    assert [b.span for b in blocks(KeyRange(7, 9, 0), 0)] == [3]
    assert [b.span for b in blocks(KeyRange(7, 9, 3), 10**9)] == [1, 1, 1], "rows larger than a block"


def test_a_null_and_a_failed_expression_are_told_apart() -> None:
    assert "IFNULL" not in Column("a", "blob", True, False).expression
    assert Column("a", "INT", False, False).expression == "`a`"
    with pytest.raises(ValueError, match="type hologram"):
        Column("a", "hologram", False, False).expression  # noqa: B018


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
