"""Reading a dump back that MySQL Shell itself wrote, and sealing it; whatever is wrong with it keeps it from that."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from s3_real import own_s3

from steps.backup.layout import DONE, INSTANCE, chunk_of, prefix
from steps.backup.load_plan import read_plan
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket
from steps.backup.operator_seal import Origin, read_back, seal
from steps.backup.source import FolderSource, S3Source
from steps.errors import StepError

pytestmark = pytest.mark.usefixtures("versitygw")

VECTOR = Path(__file__).parents[1] / "data" / "mysqlsh-dump"
ORIGIN = Origin("demo", "tiphys", "demo-1", "a uuid", {("shop", "yearly"): "ENABLED"}, ("shop",), ("logs",))
NAME = "demo-20261121-163000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with own_s3(tmp_path_factory.mktemp("s3"), 87) as (bucket, _):
        yield bucket


@pytest.fixture
def bucket(server: Bucket) -> Iterator[Bucket]:
    """A bucket with MySQL Shell's dump where a backup lies, not sealed yet."""
    for path in VECTOR.iterdir():
        if path.name != "README.md":
            server.put(prefix(NAME) + path.name, path.read_bytes())
    yield server
    for key in server.keys(prefix(NAME)):
        server.delete(key)


def chunk(bucket: Bucket) -> str:
    """Return the key of the largest chunk."""
    keys = bucket.keys(prefix(NAME))
    return max((key for key in keys if chunk_of(key.rpartition("/")[2])), key=lambda key: keys[key])


def test_mysql_shells_own_dump_becomes_a_backup(bucket: Bucket) -> None:
    made = seal(bucket, NAME, ORIGIN)
    assert made == Manifest.parse(bucket.get(prefix(NAME) + FILE))
    assert made.tables == json.loads((VECTOR / DONE).read_text())["tableRows"], "as MySQL Shell counted them"
    said = json.loads((VECTOR / INSTANCE).read_text())
    assert (made.gtid_executed, made.server_version) == (said["gtidExecuted"], said["serverVersion"])
    assert (made.method, made.pod, made.server, made.keyless) == ("operator", "demo-1", "a uuid", [])
    assert (made.include, made.exclude) == (("shop",), ("logs",))
    assert set(made.files) == {path.name for path in VECTOR.iterdir()} - {"README.md"}
    for name, file in made.files.items():
        content = bucket.get(prefix(NAME) + name)
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        if chunk_of(name):
            rows = zstandard.ZstdDecompressor().decompressobj().decompress(content)
            assert (file.data_bytes, file.rows) == (len(rows), rows.count(b"\n"))
            assert file.data_sha256 == hashlib.sha256(rows).hexdigest()
        elif name != "shop.sql":
            assert content == (VECTOR / name).read_bytes(), "nothing else is written"
    schema = bucket.get(prefix(NAME) + "shop.sql").decode()
    assert schema == (VECTOR / "shop.sql").read_text().replace(" DISABLE ON REPLICA ", " ENABLE ")
    plan = read_plan(S3Source(bucket, prefix(NAME)))
    assert all(each.sha256 for each in plan.chunks) and sum(table.rows or 0 for table in plan.tables) == made.rows


def cut(bucket: Bucket) -> None:
    key = chunk(bucket)
    bucket.put(key, bucket.get(key)[:-20])


def no_zstd(bucket: Bucket) -> None:
    key = chunk(bucket)
    bucket.put(key, b"PK" + bucket.get(key)[2:])


def other_rows(bucket: Bucket) -> None:
    bucket.put(chunk(bucket), zstandard.ZstdCompressor().compress(b"1\tone\n"))


def half_a_row(bucket: Bucket) -> None:
    bucket.put(chunk(bucket), zstandard.ZstdCompressor().compress(b"1\tone\n2"))


def no_chunk(bucket: Bucket) -> None:
    bucket.delete(chunk(bucket))


def other_index(bucket: Bucket) -> None:
    bucket.put(f"{chunk(bucket)}.idx", (7).to_bytes(8, "big"))


def other_count(bucket: Bucket) -> None:
    document = json.loads((VECTOR / DONE).read_text())
    document["tableRows"] = {"shop": {"customer": 4999}}
    bucket.put(prefix(NAME) + DONE, json.dumps(document).encode())


def not_done(bucket: Bucket) -> None:
    bucket.delete(prefix(NAME) + DONE)


def not_consistent(bucket: Bucket) -> None:
    document = json.loads((VECTOR / INSTANCE).read_text())
    bucket.put(prefix(NAME) + INSTANCE, json.dumps({**document, "consistent": False}).encode())


def no_table(bucket: Bucket) -> None:
    bucket.delete(f"{prefix(NAME)}shop@orders.sql")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "bytes of rows, the dump says|middle of a row"),
        (no_zstd, "does not decompress"),
        (other_rows, "holds 6 bytes of rows, the dump says"),
        (half_a_row, "ends in the middle of a row"),
        (no_chunk, "missing"),
        (other_index, "bytes of rows, the dump says 7"),
        (other_count, "shop.customer has 3000 rows, the dump says 4999"),
        (not_done, "never finished"),
        (not_consistent, "without consistency"),
        (no_table, "no shop@orders.sql"),
    ],
)
def test_a_damaged_dump_does_not_become_a_backup(bucket: Bucket, damage: object, says: str) -> None:
    assert callable(damage)
    damage(bucket)
    with pytest.raises(StepError, match=says):
        seal(bucket, NAME, ORIGIN)
    assert prefix(NAME) + FILE not in bucket.keys(prefix(NAME)), "it does not exist"


def test_a_small_object_of_many_rows_is_read_in_little_memory(tmp_path: Path) -> None:
    row, name = b"1\t" + b"a" * 98 + b"\n", "s@t@@0.tsv.zst"
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    pieces = [*(compressor.compress(row * 10_000) for _ in range(100)), compressor.flush()]
    size = (tmp_path / name).write_bytes(b"".join(pieces))
    assert size < 100_000
    tracemalloc.start()
    try:
        found, _ = read_back(FolderSource(tmp_path), name, size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.rows, found.data_bytes) == (1_000_000, 1_000_000 * len(row))
    assert peak < 10_000_000
