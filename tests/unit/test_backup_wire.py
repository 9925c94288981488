"""Rows off the wire: packets of every cut and size become the lines that plain Python makes of the same values."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator

import pytest

from steps.backup import wire_rows
from steps.backup.wire_rows import BASE64, ESCAPED, PLAIN, Lines
from steps.errors import StepError

FULL = (1 << 24) - 1
END = b"\xfe\x00\x00\x02\x00"

Value = bytes | None


def length(number: int) -> bytes:
    if number < 251:
        return bytes([number])
    if number < 1 << 16:
        return b"\xfc" + number.to_bytes(2, "little")
    if number < 1 << 24:
        return b"\xfd" + number.to_bytes(3, "little")
    return b"\xfe" + number.to_bytes(8, "little")


def packets(payload: bytes, number: int) -> Iterator[bytes]:
    """Yield a payload as the protocol cuts it; one that fills its packets is followed by an empty one."""
    while True:
        piece, payload = payload[:FULL], payload[FULL:]
        yield len(piece).to_bytes(3, "little") + bytes([number % 256]) + piece
        number += 1
        if len(piece) < FULL:
            return


def wire(rows: list[list[Value]], end: bytes = END, number: int = 250) -> bytes:
    made = bytearray()
    for row in rows:
        for packet in packets(b"".join(b"\xfb" if v is None else length(len(v)) + v for v in row), number):
            made += packet
            number += 1
    return bytes(made) + len(end).to_bytes(3, "little") + bytes([number % 256]) + end


def field(value: Value, kind: int) -> bytes:
    if value is None:
        return rb"\N"
    if kind == ESCAPED:
        return value.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n")
    if kind == BASE64:
        text = base64.b64encode(value)
        return rb"\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    return value


def expected(rows: list[list[Value]], kinds: list[int]) -> bytes:
    return b"".join(b"\t".join(map(field, row, kinds)) + b"\n" for row in rows)


def lines_of(stream: bytes, kinds: list[int], cuts: Iterator[int]) -> tuple[bytes, int, bytes]:
    """Feed a stream in pieces of the given sizes; return the lines, how many, and the packet after them."""
    lines, made, rows, place = Lines(kinds), bytearray(), 0, 0
    while not lines.ended:
        room = lines.room
        piece = stream[place : place + max(1, min(next(cuts), len(room)))]
        assert piece, "the stream ended, and the reader did not see it"
        room[: len(piece)] = piece
        place += len(piece)
        lines.took(len(piece))
        if lines.length >= wire_rows.BLOCK or lines.ended:
            block = lines.block()
            made += block.data
            rows += block.rows
    assert place == len(stream)
    return bytes(made), rows, lines.text


def random_rows(chance: random.Random, kinds: list[int], count: int) -> list[list[Value]]:
    def value(kind: int) -> Value:
        size = chance.choice((0, 1, 2, 3, 7, 8, 9, 16, 17, 56, 57, 58, 114, 250, 251, 252, 300, 70_000))
        if chance.random() < 0.1:
            return None
        alphabet = b"0123456789-: ." if kind == PLAIN else bytes(range(256)) + b"\t\n\\" * 20
        return bytes(chance.choices(alphabet, k=size))

    return [[value(kind) for kind in kinds] for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_rows_cut_anywhere_are_the_same_lines(seed: int) -> None:
    chance = random.Random(seed)
    kinds = [chance.choice((ESCAPED, PLAIN, BASE64)) for _ in range(chance.randrange(1, 6))]
    rows = random_rows(chance, kinds, 12)
    stream, wanted = wire(rows), expected(rows, kinds)
    for most in (1, 5, 60, 16_384, 65_536):
        # Byte by byte only where there are few bytes.
        part = rows[:3] if most == 1 else rows
        cuts = iter(lambda most=most: chance.randint(1, most), None)
        stream, wanted = wire(part), expected(part, kinds)
        assert lines_of(stream, kinds, cuts) == (wanted, len(part), END)


def test_rows_of_several_packets_and_of_exactly_full_ones() -> None:
    kinds = [PLAIN, ESCAPED, BASE64]
    rows: list[list[Value]] = [
        [b"1", b"\\" * (FULL + 100), b"x"],
        [b"2", b"a" * (FULL - 2 - 4 - 1), b""],
        [b"3", b"", b"z" * (2 * FULL - 2 - 1 - 9)],
        [b"4", None, None],
    ]
    assert lines_of(wire(rows), kinds, iter(lambda: 65_536, None)) == (expected(rows, kinds), 4, END)


def test_an_error_after_rows_is_handed_on() -> None:
    error = b"\xff\x48\x04#HY000gone"
    made, rows, text = lines_of(wire([[b"1"], [b"2"]], error), [PLAIN], iter(lambda: 11, None))
    assert (made, rows, text) == (b"1\n2\n", 2, error)
    assert lines_of(wire([]), [PLAIN], iter(lambda: 99, None)) == (b"", 0, END)


@pytest.mark.parametrize("cut", [1, 1000])
def test_a_packet_that_is_missing_is_an_error(cut: int) -> None:
    rows = [wire([[b"%d" % number]], number=number)[:-9] for number in range(5)]
    end = wire([], number=5)
    assert lines_of(b"".join(rows) + end, [PLAIN], iter(lambda: cut, None))[0] == b"0\n1\n2\n3\n4\n"
    with pytest.raises(StepError, match="packet 3 where 2 was expected"):
        lines_of(b"".join([*rows[:2], *rows[3:]]) + end, [PLAIN], iter(lambda: cut, None))


@pytest.mark.parametrize(
    "stream",
    [
        wire([[b"1", b"2", b"3"]]),
        wire([[b"1"]]),
        wire([[b"1", b"2"]])[:-9] + b"\x04\x00\x00\x07\x011\x012",
        b"\x03\x00\x00\x01\x01a\x09",
        b"\x00\x00\x00\x01",
        b"\x04\x00\x00\x00\x011\xffx",
    ],
)
@pytest.mark.parametrize("cut", [1, 1000])
def test_what_are_no_rows_is_an_error_and_never_a_line(stream: bytes, cut: int) -> None:
    stream += b"\x01\x00\x00\x09\x00" * 20
    with pytest.raises(StepError, match="rows cannot be read"):
        lines_of(stream, [PLAIN, ESCAPED], iter(lambda: cut, None))


@pytest.mark.parametrize(("value", "kind"), [(None, PLAIN), (b"\xff", BASE64), (b"\t", ESCAPED)])
def test_the_shortest_fields_have_room_when_they_become_longer(value: Value, kind: int) -> None:
    columns = 200
    stream = wire([[value] * columns] * 20_000)
    lines, place = Lines([kind] * columns), 0
    before = 16 * 1024
    while not lines.ended:
        # A connection without TLS gives as much as there is room for; first so little that a block is almost full.
        count = min(len(lines.room), len(stream) - place, before)
        lines.room[:count] = stream[place : place + count]
        place += count
        lines.took(count)
        assert lines.length <= len(lines._out) - wire_rows.SLACK
        before = wire_rows.PIECE if wire_rows.BLOCK - lines.length < 40_000 else 8 * 1024
        if lines.length >= wire_rows.BLOCK:
            lines.block()
