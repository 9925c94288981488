"""Names and JSON files of a backup, against a dump that MySQL Shell wrote."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from steps.backup.layout import (
    BadLayout,
    BaseNames,
    Chunk,
    Done,
    Instance,
    Schema,
    Table,
    chunk_of,
    escape,
    index_of,
    prefix,
)
from steps.backup.manifest import FILE, File, Manifest

VECTOR = Path(__file__).parents[1] / "data" / "mysqlsh-dump"

MANIFEST = Manifest(
    name="demo-20261121-134500",
    cluster="demo",
    namespace="tiphys",
    server="aaaa",
    pod="demo-1",
    server_version="9.7.4",
    gtid_executed="aaaa:1-9",
    begin="2026-11-21T13:45:00+00:00",
    end="2026-11-21T13:46:00+00:00",
    tables={"s": {"t": 3, "u": 0}},
    keyless=["s.u"],
    files={
        "@.json": File(10, "00"),
        "s@t@0.tsv.zst": File(20, "01", 2, 40, "ab", {"from": [1], "to": [-(2**63)]}),
        "s@t@@1.tsv.zst": File(12, "02", 1, 20, None, {}),
    },
    method="operator",
    encryption={"scheme": "x"},
    program="tiphys 0.1",
)


def test_names_are_escaped_as_mysql_shell_does() -> None:
    assert escape("a-b_c.d~9") == "a-b_c.d~9"
    assert escape("a@b/c%d e`\t") == "a%40b%2Fc%25d%20e%60%09"
    assert escape("größe😀") == "größe😀"
    assert prefix("demo-1") == "backups/demo-1/"


def test_base_names_are_short_and_given_once() -> None:
    names = BaseNames()
    assert names.of("shop", "code", "p0") == "shop@code@p0"
    long = [names.of("ü" * 64, "é`" * 32 + str(number)) for number in range(3)]
    assert len(set(long)) == 3 and all(len(base.encode()) <= 225 for base in long)
    assert names.of("Shop") == "Shop" and names.of("shop").lower() != "shop"


def test_no_base_name_leads_to_our_own_files_name() -> None:
    names = BaseNames()
    assert "tiphys" not in {names.of("tiphys").lower(), names.of("Tiphys").lower()}
    assert names.of("tiphys", "restores") == "tiphys@restores"


@pytest.mark.parametrize(
    ("file", "chunk"),
    [
        ("s@t@0.tsv.zst", Chunk("s@t", 0, False)),
        ("s@t@@12.tsv.zst", Chunk("s@t", 12, True)),
        ("s@t@p0@@0.tsv.zst", Chunk("s@t@p0", 0, True)),
        ("s@t@0.tsv.zst.idx", None),
        ("s@t.json", None),
    ],
)
def test_chunk_names_are_read_as_they_are_written(file: str, chunk: Chunk | None) -> None:
    assert chunk_of(file) == chunk
    if chunk:
        assert chunk.file == file


def test_mysql_shell_s_files_are_read_and_written_the_same() -> None:
    instance = Instance.parse((VECTOR / "@.json").read_bytes())
    assert (instance.schemas, instance.version) == (["shop"], "2.0.1")
    schema_file = (VECTOR / "shop.json").read_bytes()
    schema = Schema.parse("shop.json", schema_file)
    assert schema.dump() == schema_file
    assert (schema.views, schema.functions, schema.procedures) == (["rich"], ["twice"], ["greet"])
    for table in schema.tables:
        content = (VECTOR / f"{schema.basenames[table]}.json").read_bytes()
        assert Table.parse(table, content).dump() == content
    done_file = (VECTOR / "@.done.json").read_bytes()
    done = Done.parse(done_file)
    assert done.dump() == done_file
    for file, length in done.chunk_bytes.items():
        assert (VECTOR / f"{file}.idx").read_bytes() == index_of(length)


def test_damaged_files_are_told() -> None:
    for content in (b"", b"[]", b'{"version": "3.0.0", "schemas": []}', b'{"schemas": []}'):
        with pytest.raises(BadLayout):
            Instance.parse(content)
    with pytest.raises(BadLayout, match=r"t.json: rows are .tsv.gz"):
        Table.parse("t.json", b'{"options": {"schema": "s", "table": "t", "columns": []}, "extension": "tsv.gz"}')


def test_a_manifest_comes_back_the_same_and_knows_its_chunks() -> None:
    assert Manifest.parse(MANIFEST.dump()) == MANIFEST
    assert MANIFEST.chunks("s@t") == ["s@t@0.tsv.zst", "s@t@@1.tsv.zst"]
    for missing in ("s@t@0.tsv.zst", "s@t@@1.tsv.zst"):
        rest = {name: file for name, file in MANIFEST.files.items() if name != missing}
        with pytest.raises(BadLayout, match="s@t"):
            dataclasses.replace(MANIFEST, files=rest).chunks("s@t")


def test_a_manifest_without_the_newer_fields_is_read() -> None:
    document = json.loads(MANIFEST.dump())
    for name in ("method", "encryption", "program"):
        del document[name]
    for file in document["files"].values():
        file.pop("dataSha256", None), file.pop("keys", None)
    read = Manifest.parse(json.dumps(document).encode())
    assert (read.method, read.encryption, read.program) == ("tiphys", None, "")
    assert read.files["s@t@0.tsv.zst"] == File(20, "01", 2, 40)


@pytest.mark.parametrize("field", ["format", "files", "rows", "bytes", "gtidExecuted"])
def test_a_manifest_of_another_version_or_with_a_hole_is_refused(field: str) -> None:
    document = json.loads(MANIFEST.dump())
    for changed in ({**document, field: 99}, {key: document[key] for key in document if key != field}):
        if field == "gtidExecuted" and field in changed:
            continue
        with pytest.raises(BadLayout, match=FILE):
            Manifest.parse(json.dumps(changed).encode())
