"""Restoring on a real server: a group of one member, and the dump that MySQL Shell wrote."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from mysql_group import ROOT, Server, mysql_group

from steps.backup import layout, load_rows, load_state
from steps.backup.load_rows import Target
from steps.backup.load_stream import DamagedChunk
from steps.backup.manifest import File, Manifest
from steps.backup.restore import Restored, restore_from
from steps.backup.source import FolderSource, Stream
from steps.errors import Refused, StepError
from steps.mysql.connection import query, session

ADDRESS = f"127.98.{os.getpid() % 250 + 1}.1"
VECTOR = Path(__file__).parents[1] / "data" / "mysqlsh-dump"
SUMS = {
    "shop.customer": 2820272405,
    "shop.orders": 3656933838,
    "shop.log_unique": 2899731556,
    "shop.code": 3554093661,
    "shop.vacant": 0,
}
"""What MySQL Shell's own load of the vector gives (its README)."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    with session(ADDRESS, 3306, ROOT) as opened:
        for schema in ("shop", "tiphys"):
            query(opened, f"DROP SCHEMA IF EXISTS {schema}")
        query(opened, "DROP USER IF EXISTS shopper")
        query(opened, "SET GLOBAL local_infile = OFF")
        yield opened


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return Path(shutil.copytree(VECTOR, tmp_path / "dump"))


def restore(folder: Path, **options: Any) -> Restored:
    options = {"name": "vector", "only": [], "parallel": 2, **options}
    return restore_from(FolderSource(folder), Target(ADDRESS, ROOT), **options)


def sums(connection: Any) -> dict[str, int]:
    return {str(name): value for name, value in query(connection, f"CHECKSUM TABLE {', '.join(SUMS)}")}


def schemas(connection: Any) -> set[str]:
    return {str(row[0]) for row in query(connection, "SELECT schema_name FROM information_schema.schemata")}


def test_mysql_shells_dump_comes_back_to_the_last_bit(connection: Any) -> None:
    done = restore(VECTOR)
    assert sums(connection) == SUMS
    assert (done.rows, done.gtid) == (9100, "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1-90")
    assert query(connection, "SELECT COUNT(*) > 0 FROM shop.rich") == [(1,)]
    assert query(connection, "SELECT shop.twice(4)") == [(8,)]
    names = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema='shop'"
    assert query(connection, names) == [("code_bi",)]
    assert query(connection, "SELECT event_name FROM information_schema.events") == [("yearly",)]
    assert "GRANT SELECT, INSERT ON `shop`.* TO `shopper`@`%`" in [
        row[0] for row in query(connection, "SHOW GRANTS FOR shopper")
    ]
    assert query(connection, "SELECT @@global.local_infile") == [(0,)], "switched on for the load only"


def with_manifest(folder: Path, **changed: Any) -> None:
    """Write the `tiphys.json` that our own backup would have."""
    sizes = layout.Done.parse((folder / layout.DONE).read_bytes())
    counts = {chunk: rows_of(folder / chunk) for chunk in sizes.chunk_bytes}
    files = {
        each.name: File(
            each.stat().st_size,
            hashlib.sha256(each.read_bytes()).hexdigest(),
            counts.get(each.name),
            sizes.chunk_bytes.get(each.name),
        )
        for each in folder.iterdir()
    }
    texts = dict.fromkeys(["cluster", "namespace", "server", "pod", "gtid_executed", "begin", "end"], "x")
    made = Manifest(name="vector", server_version="9.7.4", tables=sizes.table_rows, files=files, **texts)
    (folder / "tiphys.json").write_bytes(made.dump().replace(b'"format": 1', changed.get("format", b'"format": 1')))


def rows_of(chunk: Path) -> int:
    # The vector's values hold no escaped line ends: MySQL Shell writes them as the letter n.
    return zstandard.ZstdDecompressor().decompressobj().decompress(chunk.read_bytes()).count(b"\n")


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x10
    file.write_bytes(bytes(content))


def test_what_is_there_is_never_overwritten(connection: Any) -> None:
    query(connection, "CREATE SCHEMA shop")
    with pytest.raises(Refused, match="has shop already: nothing was changed"):
        restore(VECTOR)
    assert "tiphys" not in schemas(connection)
    assert not query(connection, "SELECT 1 FROM mysql.user WHERE user='shopper'")


def test_a_run_that_is_done_tells_the_same_again_and_another_run_is_refused(connection: Any) -> None:
    first = restore(VECTOR, workflow="restore-1")
    assert restore(VECTOR, workflow="restore-1") == first
    with pytest.raises(Refused, match="already"):
        restore(VECTOR, workflow="restore-2")
    # A later run of the same name, as an Idempotency-Key makes one once its first Workflow was deleted.
    query(connection, "DROP TABLE shop.vacant")
    with pytest.raises(Refused, match="already"):
        restore(VECTOR, workflow="restore-1")
    query(connection, "DROP SCHEMA shop")
    assert restore(VECTOR, workflow="restore-1").rows == first.rows
    assert query(connection, "SELECT COUNT(*) > 0 FROM shop.orders") == [(1,)]


def test_a_setting_that_a_killed_restore_left_is_put_back_by_the_next_though_it_begins_anew(connection: Any) -> None:
    restore(VECTOR)
    query(connection, "SET GLOBAL local_infile = ON")
    query(connection, "UPDATE tiphys.restores SET phase = 'rows', local_infile = @@server_uuid")
    query(connection, "DROP SCHEMA shop")
    restore(VECTOR)
    assert query(connection, "SELECT @@global.local_infile") == [(0,)]


def test_tables_without_a_key_are_named_before_anything_is_changed(connection: Any, dump: Path) -> None:
    file = dump / "shop@log_unique.sql"
    file.write_text(file.read_text().replace("`line` varchar(100) NOT NULL", "`line` varchar(100) DEFAULT NULL"))
    with pytest.raises(Refused, match=r"error 3098\): shop.log_unique. Nothing was changed") as caught:
        restore(dump)
    assert "invisible-key=true" in str(caught.value) and "shop" not in schemas(connection)
    restore(dump, invisible_key=True)
    hidden = "SELECT extra FROM information_schema.columns WHERE table_name='log_unique' AND column_key='PRI'"
    assert "INVISIBLE" in query(connection, hidden)[0][0]
    assert query(connection, "SELECT COUNT(*) FROM shop.log_unique") == [(100,)]
    gipk = "SELECT COUNT(*) FROM information_schema.columns WHERE column_name='my_row_id' AND table_schema='shop'"
    assert query(connection, gipk) == [(1,)], "tables with a key stay as they are"


@pytest.mark.parametrize("name", ["shop@orders@@0.tsv.zst", "shop@customer@1.tsv.zst", "shop.json", "@.json"])
@pytest.mark.parametrize("ours", [True, False])
def test_a_missing_file_is_told_before_anything_is_changed(connection: Any, dump: Path, name: str, ours: bool) -> None:
    if ours:
        with_manifest(dump)
    (dump / name).unlink()
    with pytest.raises(StepError, match=r"(missing|has no)"):
        restore(dump)
    assert not {"shop", "tiphys"} & schemas(connection)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda dump: (dump / "@.done.json").unlink(), "never finished"),
        (lambda dump: with_manifest(dump, format=b'"format": 2'), "has format 2, this program reads 1"),
        (lambda dump: edit(dump / "@.json", '"version": "2.0.1"', '"version": "2.1.0"'), "version 2.1.0"),
        (lambda dump: edit(dump / "@.json", '"serverVersion": "9.7.4-2"', '"serverVersion": "99.0.1"'), "MySQL 99.0.1"),
        (lambda dump: (with_manifest(dump), edit(dump / "shop.sql", "twice", "thrice")), "says"),
        (lambda dump: (with_manifest(dump), flip(dump / "shop.sql", 500)), "SHA-256 differs"),
        (lambda dump: (with_manifest(dump), (dump / "@.sql").rename(dump / "x.sql")), "has no @.sql"),
        (lambda dump: edit(dump / "shop@customer.json", '"FROM_BASE64"', '"SLEEP"'), "encoded for SLEEP"),
    ],
)
def test_what_cannot_be_restored_is_told_before_anything_is_changed(
    connection: Any, dump: Path, change: Any, said: str
) -> None:
    change(dump)
    with pytest.raises(StepError, match=said):
        restore(dump)
    assert not {"shop", "tiphys"} & schemas(connection)


def edit(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def phase(connection: Any) -> str:
    return str(query(connection, "SELECT phase FROM tiphys.restores")[0][0])


def test_a_flipped_byte_is_found_while_rows_stream_and_none_of_its_file_stays(connection: Any, dump: Path) -> None:
    with_manifest(dump)
    whole = (dump / "shop@customer@1.tsv.zst").read_bytes()
    flip(dump / "shop@customer@1.tsv.zst", 40_000)
    with pytest.raises(DamagedChunk, match="shop@customer@1.tsv.zst"):
        restore(dump)
    assert phase(connection) == "rows"
    state = "SELECT loaded_rows, done FROM tiphys.restore_chunks WHERE file='shop@customer@1.tsv.zst'"
    assert query(connection, state) == [(0, 0)]
    (dump / "shop@customer@1.tsv.zst").write_bytes(whole)
    restore(dump)
    assert sums(connection) == SUMS and phase(connection) == "done"


def test_a_byte_that_zstd_does_not_notice_is_found_by_its_sum(connection: Any, dump: Path) -> None:
    with_manifest(dump)
    plain = zstandard.ZstdDecompressor().decompressobj().decompress((dump / "shop@orders@@0.tsv.zst").read_bytes())
    other = plain.replace(b"\t1\t", b"\t2\t", 1) if b"\t1\t" in plain else plain[:-2] + b"9\n"
    packed = zstandard.ZstdCompressor().compress(other)
    manifest = Manifest.parse((dump / "tiphys.json").read_bytes())
    size = manifest.files["shop@orders@@0.tsv.zst"].size
    # As long as the object that was written, so that its size gives nothing away: a skippable frame fills it up.
    for level in range(1, 20):
        packed = zstandard.ZstdCompressor(level=level).compress(other)
        if len(packed) + 8 <= size:
            break
    packed += b"\x50\x2a\x4d\x18" + (size - len(packed) - 8).to_bytes(4, "little") + bytes(size - len(packed) - 8)
    assert len(packed) == size and len(other) == len(plain)
    (dump / "shop@orders@@0.tsv.zst").write_bytes(packed)
    with pytest.raises(DamagedChunk, match="SHA-256 differs"):
        restore(dump)
    assert query(connection, "SELECT COUNT(*) FROM shop.orders") == [(0,)]


def test_a_truncated_chunk_of_mysql_shell_is_found(connection: Any, dump: Path) -> None:
    file = dump / "shop@orders@@0.tsv.zst"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DamagedChunk, match="cut off or replaced"):
        restore(dump)
    assert query(connection, "SELECT COUNT(*) FROM shop.orders") == [(0,)] and phase(connection) == "rows"


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours handles it."""


class BreakingSource(FolderSource):
    """A dump whose reader dies after a number of bytes of rows."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__(folder)
        self.left = after

    def open(self, name: str) -> Stream:
        stream = super().open(name)
        if not name.endswith(".tsv.zst"):
            return stream
        source = self

        class Breaking:
            def read(self, size: int, /) -> bytes:
                source.left -= size
                if source.left < 0:
                    raise Killed
                return stream.read(size)

            def close(self) -> None:
                stream.close()

        return Breaking()


def test_a_restore_that_dies_goes_on_and_loads_nothing_twice(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_rows, "PIECE", 50_000)
    monkeypatch.setattr("steps.backup.load_stream.BLOCK", 8192)
    deaths, loaded = 0, [0]
    for attempt in range(30):
        source = BreakingSource(VECTOR, 60_000 * (1 + attempt))
        try:
            restore_from(source, Target(ADDRESS, ROOT), name="vector", only=[], parallel=1)
            break
        except Killed:
            deaths += 1
            loaded.append(int(query(connection, "SELECT SUM(loaded_rows) FROM tiphys.restore_chunks")[0][0]))
            assert phase(connection) == "rows"
    assert deaths >= 3 and loaded == sorted(loaded) and 0 < loaded[-1] < 9100
    assert sums(connection) == SUMS
    assert query(connection, "SELECT SUM(loaded_rows), SUM(done) = COUNT(*) FROM tiphys.restore_chunks") == [(9100, 1)]
    assert query(connection, "SELECT @@global.local_infile") == [(0,)]


def test_damage_behind_rows_that_are_committed_taints_the_restore(
    connection: Any, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_manifest(dump)
    monkeypatch.setattr(load_rows, "PIECE", 20_000)
    monkeypatch.setattr("steps.backup.load_stream.BLOCK", 8192)
    flip(dump / "shop@customer@1.tsv.zst", -3000)
    with pytest.raises(DamagedChunk):
        restore(dump)
    assert phase(connection) == load_state.DAMAGED
    with pytest.raises(Refused, match="loaded damaged rows: drop shop and run the restore again"):
        restore(VECTOR)
    query(connection, "DROP SCHEMA shop")
    restore(VECTOR)
    assert sums(connection) == SUMS and phase(connection) == "done"


def test_a_half_restored_schema_is_not_taken_for_somebody_elses(connection: Any, dump: Path) -> None:
    with pytest.raises(Killed):
        restore_from(BreakingSource(VECTOR, 1), Target(ADDRESS, ROOT), name="vector", only=[])
    edit(dump / "@.json", '"hostname": "vm"', '"hostname": "other"')
    with pytest.raises(Refused, match="began here and is not finished"):
        restore(dump)
    restore(VECTOR)
    assert sums(connection) == SUMS


def test_transactions_that_the_group_finds_too_large_are_made_smaller(
    connection: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = query(connection, "SELECT @@global.group_replication_transaction_size_limit")[0][0]
    query(connection, "SET GLOBAL group_replication_transaction_size_limit = 150000")
    careful = load_rows.load_chunk

    def bold(*arguments: Any) -> None:
        careful(*arguments[:5], 1 << 20, arguments[6])

    monkeypatch.setattr(load_rows, "load_chunk", bold)
    try:
        restore(VECTOR)
    finally:
        query(connection, f"SET GLOBAL group_replication_transaction_size_limit = {before}")
    assert sums(connection) == SUMS
    assert "smaller transactions" in capfd.readouterr().err


def test_rows_that_do_not_fit_are_an_error_and_not_cut(connection: Any, dump: Path) -> None:
    edit(dump / "shop@log_unique.sql", "`line` varchar(100)", "`line` varchar(3)")
    with pytest.raises(StepError, match="shop@log_unique.*do not go in as they are"):
        restore(dump)
    assert query(connection, "SELECT COUNT(*) FROM shop.log_unique") == [(0,)]


def with_rows(dump: Path, columns: str, names: list[str], rows: bytes) -> None:
    """Give the table `vacant` other columns and some rows."""
    edit(dump / "shop@vacant.sql", "`id` int NOT NULL,", f"`id` int NOT NULL,\n  {columns},")
    about = json.loads((dump / "shop@vacant.json").read_text())
    about["options"]["columns"] = ["id", *names]
    (dump / "shop@vacant.json").write_text(json.dumps(about))
    file = "shop@vacant@@0.tsv.zst"
    (dump / file).write_bytes(zstandard.ZstdCompressor().compress(rows))
    done = json.loads((dump / "@.done.json").read_text())
    done["chunkFileBytes"][file] = len(rows)
    done["tableDataBytes"]["shop"]["vacant"] = len(rows)
    (dump / "@.done.json").write_text(json.dumps(done))
    with_manifest(dump)
    manifest = json.loads((dump / "tiphys.json").read_text())
    manifest["tables"]["shop"]["vacant"] = rows.count(b"\n")
    manifest["rows"] = sum(manifest["tables"]["shop"].values())
    (dump / "tiphys.json").write_text(json.dumps(manifest))


ENUMS = (
    "`e` enum('a','0','d''e') DEFAULT NULL,\n  `f` enum('x','') CHARACTER SET utf16 NOT NULL,\n"
    "  `g` enum('€','b') CHARACTER SET latin1 DEFAULT NULL"
)


def test_the_error_value_of_an_enum_is_not_an_error(connection: Any, dump: Path) -> None:
    rows = "".join(
        f"{n}\t{('', '0', chr(92) + 'N')[n % 3]}\t{'x' * (n % 2)}\t{('€', '')[n % 2]}\n" for n in range(3000)
    )
    with_rows(dump, ENUMS, ["e", "f", "g"], rows.encode())
    restore(dump)
    found = "SELECT e + 0, f + 0, g + 0, COUNT(*) FROM shop.vacant GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    made = [(e, f, g) for e in (None, 0, 2) for f, g in ((1, 0), (2, 1))]
    assert query(connection, found) == [(e, f, g, 500) for e, f, g in made]


@pytest.mark.parametrize("wrong", ["2\tb\tx\t\n", "2\t\tx\tB!\n", "2\t\ty\t\n", "x\t\tx\t\n"])
def test_a_value_that_is_none_of_an_enums_is_an_error_among_a_thousand_empty_ones(
    connection: Any, dump: Path, wrong: str
) -> None:
    rows = "".join(f"{n}\t\tx\t\n" for n in range(3, 2003)) + wrong
    with_rows(dump, ENUMS, ["e", "f", "g"], rows.encode())
    with pytest.raises(StepError, match="shop@vacant.*do not go in as they are"):
        restore(dump)
    assert query(connection, "SELECT COUNT(*) FROM shop.vacant") == [(0,)]


def test_accounts_that_are_there_keep_what_they_have(connection: Any) -> None:
    query(connection, "CREATE USER shopper IDENTIFIED BY 'their own'")
    restore(VECTOR)
    assert query(connection, "SHOW GRANTS FOR shopper") == [("GRANT USAGE ON *.* TO `shopper`@`%`",)]


def test_no_account_comes_to_a_cluster_where_others_live(connection: Any) -> None:
    query(connection, "CREATE SCHEMA theirs")
    try:
        restore(VECTOR)
        assert sums(connection) == SUMS
        assert not query(connection, "SELECT 1 FROM mysql.user WHERE user='shopper'")
    finally:
        query(connection, "DROP SCHEMA theirs")


def test_chosen_schemas_come_without_accounts(connection: Any) -> None:
    restore(VECTOR, only=["shop"])
    assert sums(connection) == SUMS
    assert not query(connection, "SELECT 1 FROM mysql.user WHERE user='shopper'")
    with pytest.raises(StepError, match="no schema shoes to restore; it has shop"):
        restore(VECTOR, only=["shoes"])


SLOW = """
import sys, time
from pathlib import Path
from steps.backup import load_rows
from steps.backup.load_stream import Pieces
from steps.backup.restore import restore_from
from steps.backup.source import FolderSource
from steps.mysql.connection import Credentials

address, user, password, folder = sys.argv[1:]
load_rows.PIECE = 30_000
read = Pieces.read

def slowly(self, size=-1, /):
    time.sleep(0.02)
    return read(self, min(size, 4096))

Pieces.read = slowly
restore_from(FolderSource(Path(folder)), load_rows.Target(address, Credentials(user, password)), name="v", only=[])
"""


def test_a_process_killed_while_it_loads_leaves_only_whole_pieces(connection: Any) -> None:
    command = [sys.executable, "-c", SLOW, ADDRESS, ROOT.user, ROOT.password, str(VECTOR)]
    done = "SELECT COALESCE(SUM(loaded_rows), 0) FROM tiphys.restore_chunks"
    counted = 0
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                there = "tiphys" in schemas(connection) and "shop" in schemas(connection)
                if there and phase(connection) == "rows" and query(connection, done)[0][0] > counted:
                    break
                time.sleep(0.05)
            assert process.poll() is None, "it ended by itself before it could be killed"
        finally:
            process.kill()
            process.wait()
        time.sleep(0.3)
        counted = int(query(connection, done)[0][0])
        assert 0 < counted < 9100 and phase(connection) == "rows"
        tables = " + ".join(f"(SELECT COUNT(*) FROM {name})" for name in SUMS)
        assert query(connection, f"SELECT {tables}") == [(counted,)], "the state tells what the tables hold"
    restore(VECTOR)
    assert sums(connection) == SUMS
    assert query(connection, done) == [(9100,)]
    assert query(connection, "SELECT @@global.local_infile") == [(0,)], "put back, though its own process died"
