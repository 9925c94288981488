"""Encryption of backups: what is written under a key comes back with it, and with nothing else."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.backup.encryption import SEGMENT, TAG_BYTES, Cipher, Key, Keyring, Undecipherable
from steps.backup.manifest import File, Manifest
from steps.backup.source import FolderSource, read_all
from steps.errors import BadParameters, StepError

HEAD = 40


def fresh() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def ring(current: str, *previous: str) -> Keyring:
    found = Keyring.read({"TIPHYS_BACKUP_KEY": current, "TIPHYS_BACKUP_KEYS_PREVIOUS": " ".join(previous)})
    assert found is not None
    return found


@pytest.fixture
def cipher() -> Cipher:
    return Cipher.new(ring(fresh()), "demo-1")


def opened(cipher: Cipher, name: str, stored: bytes, size: int = 1000) -> bytes:
    stream, content = cipher.open(name, io.BytesIO(stored)), b""
    while part := stream.read(size):
        content += part
    return content


@settings(max_examples=40, deadline=None)
@given(
    length=st.sampled_from([0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 7]),
    cuts=st.lists(st.integers(0, 3 * SEGMENT), max_size=4),
    size=st.integers(1000, 3 * SEGMENT),
)
def test_content_comes_back_however_it_is_cut(length: int, cuts: list[int], size: int) -> None:
    cipher, content = Cipher.new(ring(fresh()), "demo-1"), os.urandom(length)
    sealer, stored, start = cipher.sealer("a@@0.tsv.zst"), b"", 0
    for cut in sorted(min(cut, length) for cut in cuts):
        stored += sealer.seal(content[start:cut], False)
        start = cut
    stored += sealer.seal(content[start:], True)
    assert opened(cipher, "a@@0.tsv.zst", stored, size) == content
    segments = length // SEGMENT + 1
    assert len(stored) == HEAD + length + segments * TAG_BYTES
    assert length < 8 or content not in stored


def test_the_same_file_twice_is_not_the_same_bytes(cipher: Cipher) -> None:
    assert cipher.seal("a", b"x" * 100) != cipher.seal("a", b"x" * 100)


STORED = SEGMENT + TAG_BYTES


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        ("a flipped bit", lambda s: s[:70_000] + bytes([s[70_000] ^ 1]) + s[70_001:]),
        ("a flipped bit of the salt", lambda s: s[:20] + bytes([s[20] ^ 1]) + s[21:]),
        ("no last segment", lambda s: s[: HEAD + 2 * STORED]),
        ("no last byte", lambda s: s[:-1]),
        ("a byte too many", lambda s: s + b"x"),
        ("segments in another order", lambda s: s[:HEAD] + s[HEAD + STORED : HEAD + 2 * STORED] + s[HEAD:]),
        ("two segments swapped", lambda s: _swapped(s)),
        ("a segment left out", lambda s: s[:HEAD] + s[HEAD + STORED :]),
        ("a segment twice", lambda s: s[: HEAD + STORED] + s[HEAD:]),
        ("the head only", lambda s: s[:HEAD]),
        ("half a head", lambda s: s[:20]),
        ("nothing", lambda s: b""),
        ("not encrypted", lambda s: b"(\xb5/\xfd" + bytes(5000)),
    ],
)
def test_what_was_changed_is_refused(cipher: Cipher, what: str, damage: object) -> None:
    stored = cipher.seal("a@@0.tsv.zst", os.urandom(2 * SEGMENT + 500))
    assert callable(damage)
    with pytest.raises(Undecipherable, match="a@@0.tsv.zst"):
        opened(cipher, "a@@0.tsv.zst", damage(stored))


def _swapped(stored: bytes) -> bytes:
    one, two = HEAD + STORED, HEAD + 2 * STORED
    return stored[:HEAD] + stored[one:two] + stored[HEAD:one] + stored[two:]


def test_nothing_of_a_wrong_segment_is_given_out(cipher: Cipher) -> None:
    content = os.urandom(3 * SEGMENT)
    stored = bytearray(cipher.seal("a", content))
    stored[HEAD + STORED + 5] ^= 1
    stream, seen = cipher.open("a", io.BytesIO(bytes(stored))), b""
    with pytest.raises(Undecipherable, match="segment 1"):
        while part := stream.read(7777):
            seen += part
    assert seen == content[:SEGMENT]


@pytest.mark.parametrize("cut", [1, TAG_BYTES, 1000 + TAG_BYTES])
def test_a_file_that_is_cut_stays_refused(cipher: Cipher, cut: int) -> None:
    stored = cipher.seal("a", os.urandom(SEGMENT + 1000))
    stream = cipher.open("a", io.BytesIO(stored[:-cut]))
    with pytest.raises(Undecipherable):
        while stream.read(1 << 20):
            pass
    # An end here would be taken for the file's.
    with pytest.raises(Undecipherable):
        stream.read(1)


def test_a_file_is_not_taken_for_another(cipher: Cipher) -> None:
    stored = cipher.seal("a@0.tsv.zst", b"rows")
    with pytest.raises(Undecipherable, match="not this file"):
        opened(cipher, "a@@0.tsv.zst", stored)
    keyring = ring(fresh())
    one, two = Cipher.new(keyring, "demo-1"), Cipher.new(keyring, "demo-2")
    with pytest.raises(Undecipherable):
        opened(two, "a", one.seal("a", b"rows"))


def manifest(**files: File) -> Manifest:
    return Manifest("demo-1", "demo", "tiphys", "s", "p", "9.7.4", "", "b", "e", {"shop": {"t": 3}}, files=files)


def stored_manifest(cipher: Cipher) -> bytes:
    chunk = File(10, "0" * 64, 3, 20, "f" * 64, {"low": ["6D61696C40"], "columns": ["email"]})
    return cipher.seal_manifest(manifest(a=chunk, b=File(1, "1" * 64)).dump())


def test_a_manifest_reads_without_the_key_but_tells_nothing_of_the_rows(cipher: Cipher) -> None:
    content = stored_manifest(cipher)
    plain = Manifest.parse(content)
    assert (plain.name, plain.rows, plain.size) == ("demo-1", 3, 11)
    assert plain.encryption is not None and plain.encryption["key"]
    assert b"6D61696C40" not in content and b"f" * 64 not in content and b"email" not in content
    again = Manifest.parse(cipher.open_manifest(content))
    assert again.files["a"].keys == {"low": ["6D61696C40"], "columns": ["email"]}
    assert again.files["a"].data_sha256 == "f" * 64 and again.files["b"].keys is None


@pytest.mark.parametrize("key", ["name", "bytes", "gtidExecuted", "files", "sealed", "encryption"])
def test_a_manifest_that_was_changed_is_refused(cipher: Cipher, key: str) -> None:
    document = json.loads(stored_manifest(cipher))
    if key == "files":
        document["files"]["b"]["sha256"] = "2" * 64
    elif key == "encryption":
        del document["encryption"]["mac"]
    else:
        document[key] = "other"
    with pytest.raises(Undecipherable, match="tiphys.json of .* was changed"):
        cipher.open_manifest(json.dumps(document).encode())


def test_keys_can_be_rotated() -> None:
    old, new = fresh(), fresh()
    content = stored_manifest(Cipher.new(ring(old), "demo-1"))
    document = json.loads(content)
    for keyring in (ring(old), ring(new, old), ring(old, new), ring(new, fresh(), old)):
        Cipher.of(document, keyring).open_manifest(content)
    assert Cipher.new(ring(new, old), "demo-2").description["key"] == Key.parse(new, "").fingerprint


def test_a_wrong_key_a_missing_one_and_a_foreign_scheme_are_told_apart() -> None:
    right, wrong = fresh(), fresh()
    document = json.loads(stored_manifest(Cipher.new(ring(right), "demo-1")))
    mark = Key.parse(right, "").fingerprint
    with pytest.raises(StepError, match=f"no key is given; expected the key of fingerprint {mark}.*tiphys-backup-key"):
        Cipher.of(document, None)
    other = Key.parse(wrong, "").fingerprint
    with pytest.raises(StepError, match=f"fingerprint {mark}; the Secret tiphys-backup-key has {other}") as caught:
        Cipher.of(document, ring(wrong))
    assert right not in str(caught.value) and wrong not in str(caught.value)
    with pytest.raises(StepError, match="'ROT13', this program knows AES-256-GCM.*newer"):
        Cipher.of({**document, "encryption": {**document["encryption"], "scheme": "ROT13"}}, ring(right))
    with pytest.raises(Undecipherable, match="data key does not belong"):
        Cipher.of({**document, "name": "demo-2"}, ring(right))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TIPHYS_BACKUP_KEY": "secret!secret!"}, "14 characters that are no base64.*openssl rand -base64 32"),
        ({"TIPHYS_BACKUP_KEY": base64.b64encode(b"x" * 16).decode()}, "has 16 bytes; expected 32"),
        ({"TIPHYS_BACKUP_KEYS_PREVIOUS": fresh()}, "no current one"),
        ({"TIPHYS_BACKUP_KEY": fresh(), "TIPHYS_BACKUP_KEYS_PREVIOUS": "eA=="}, "1 bytes.*key previous"),
    ],
)
def test_a_malformed_key_is_told_and_never_shown(environment: dict[str, str], said: str) -> None:
    with pytest.raises(BadParameters, match=said) as caught:
        Keyring.read(environment)
    assert not any(value in str(caught.value) for value in environment.values() if len(value) > 4)
    assert Keyring.read({"TIPHYS_BACKUP_KEY": " \n"}) is None


def test_keys_are_not_in_what_python_shows() -> None:
    key = os.urandom(32)
    shown = repr(ring(base64.b64encode(key).decode()))
    assert repr(key) not in shown and base64.b64encode(key).decode() not in shown


def test_a_folder_of_encrypted_files_reads_as_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = fresh()
    cipher = Cipher.new(ring(key), "demo-1")
    (tmp_path / "@.json").write_bytes(cipher.seal("@.json", b"{}"))
    (tmp_path / "tiphys.json").write_bytes(stored_manifest(cipher))
    with pytest.raises(StepError, match="no key is given"):
        read_all(FolderSource(tmp_path), "@.json")
    monkeypatch.setenv("TIPHYS_BACKUP_KEY", key)
    source = FolderSource(tmp_path)
    assert read_all(source, "@.json") == b"{}"
    assert Manifest.parse(read_all(source, "tiphys.json")).files["a"].data_sha256 == "f" * 64


def test_a_plain_backup_is_read_although_there_is_a_key_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIPHYS_BACKUP_KEY", fresh())
    (tmp_path / "@.json").write_bytes(b"{}")
    (tmp_path / "tiphys.json").write_bytes(manifest().dump())
    source = FolderSource(tmp_path)
    assert read_all(source, "@.json") == b"{}" == read_all(source, "@.json")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["backup is not encrypted"]
