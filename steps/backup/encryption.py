"""Encryption of a backup before it leaves for S3: AES-256-GCM, as a stream, under a key that only the Secret holds.

The Secret ``tiphys-backup-key`` holds the key (`key`, 32 bytes in base64), and older ones that are still needed to
read older backups (`previous`). Every backup has a random data key of its own; ``tiphys.json`` holds it, wrapped with
the Secret's key, and names that key by its fingerprint. So a new key is for new backups, and none is written again.

A file is MAGIC, a random salt, and segments of SEGMENT bytes, the last one shorter or empty, each with its tag. The
file's own key comes from the data key and the salt (HKDF-SHA-256); a segment's nonce is its number and whether it is
the last, and the file's name is authenticated with it. So a file that is cut, reordered, mixed with another one or
changed anywhere is refused before a byte of the wrong segment is given out.

``tiphys.json`` stays readable, so that listing and pruning need no key, but it carries an HMAC-SHA-256, and what it
would tell of the rows (key values, hashes before compression) is encrypted in it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from steps.backup.layout import dumps, loads
from steps.errors import BadParameters, StepError

SCHEME = "AES-256-GCM"
SECRET = "tiphys-backup-key"
VARIABLES = {"TIPHYS_BACKUP_KEY": "key", "TIPHYS_BACKUP_KEYS_PREVIOUS": "previous"}
"""Environment variables, and the Secret's keys that give them."""

SEGMENT = 128 * 1024
MAGIC = b"tiphys\x00\x01"
SALT_BYTES, TAG_BYTES, NONCE_BYTES = 32, 16, 12
_FILE = "tiphys.json"
_PRIVATE = ("keys", "dataSha256")
"""What ``tiphys.json`` says of a file that tells about its rows."""


class Undecipherable(StepError):
    """A file or ``tiphys.json`` is not what was encrypted under this key."""


class Readable(Protocol):
    """Where stored bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, nothing at the end."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


@dataclass(frozen=True)
class Key:
    """A key of the Secret.

    Attributes:
        raw: its 32 bytes.
    """

    raw: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Return what names the key, and tells nothing about it."""
        return hmac.digest(self.raw, b"tiphys backup key", "sha256").hex()[:16]

    @classmethod
    def parse(cls, text: str, where: str) -> Key:
        """Read a key.

        Raises:
            BadParameters: it is not 32 bytes in base64; the message does not quote it.
        """
        expected = f"expected 32 random bytes in base64. Make one with: openssl rand -base64 32. Found in {where}."
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadParameters(f"The backup key has {len(text)} characters that are no base64; {expected}") from None
        if len(raw) != 32:
            raise BadParameters(f"The backup key has {len(raw)} bytes; {expected}")
        return cls(raw)


@dataclass(frozen=True)
class Keyring:
    """The keys that are given: `current` encrypts new backups, all of them read."""

    current: Key
    previous: tuple[Key, ...] = ()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Keyring | None:
        """Return the keys that an environment holds, None where there are none.

        Raises:
            BadParameters: one is malformed, or there are only previous ones.
        """
        (one, key), (more, previous) = VARIABLES.items()
        current, older = environment.get(one, "").strip(), environment.get(more, "").split()
        if not current:
            if older:
                raise BadParameters(
                    f"The Secret {SECRET} has previous keys, but no current one; expected one (key {key}): without it "
                    "new backups would not be encrypted."
                )
            return None
        return cls(
            Key.parse(current, f"Secret {SECRET}, key {key}"),
            tuple(Key.parse(text, f"Secret {SECRET}, key {previous}") for text in older),
        )

    def find(self, fingerprint: str) -> Key | None:
        """Return the key of a fingerprint."""
        return next((key for key in (self.current, *self.previous) if key.fingerprint == fingerprint), None)


class Cipher:
    """Encrypts and decrypts the files of one backup. Threads may share it.

    Args:
        data_key: the backup's own key.
        description: what ``tiphys.json`` says about it: scheme, fingerprint of the Secret's key, wrapped data key.
    """

    def __init__(self, data_key: bytes, description: Mapping[str, Any]) -> None:
        self._data_key, self.description = data_key, dict(description)

    @classmethod
    def new(cls, keyring: Keyring, backup: str) -> Cipher:
        """Return the cipher of a new backup, with a data key of its own."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        data_key, nonce, key = os.urandom(32), os.urandom(NONCE_BYTES), keyring.current
        wrapped = nonce + AESGCM(key.raw).encrypt(nonce, data_key, _wrapping(backup))
        return cls(
            data_key,
            {"scheme": SCHEME, "key": key.fingerprint, "dataKey": base64.b64encode(wrapped).decode()},
        )

    @classmethod
    def of(cls, manifest: Mapping[str, Any], keyring: Keyring | None) -> Cipher:
        """Return the cipher of a backup that exists.

        Args:
            manifest: its ``tiphys.json``, parsed, with an ``encryption``.
            keyring: the keys that are given.

        Raises:
            StepError: no key, another key, or a scheme that is not known here.
            Undecipherable: the data key was not wrapped by this key, or changed since.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        name, about = manifest.get("name"), manifest["encryption"]
        if not isinstance(about, dict) or about.get("scheme") != SCHEME:
            seen = about.get("scheme") if isinstance(about, dict) else about
            raise StepError(
                f"Backup {name} is encrypted with {seen!r:.40}, this program knows {SCHEME}: use the version of the "
                "program that made the backup, or a newer one."
            )
        wanted = str(about.get("key"))
        if keyring is None:
            raise StepError(
                f"Backup {name} is encrypted, and no key is given; expected the key of fingerprint {wanted} in the "
                f"Secret {SECRET} (key {VARIABLES['TIPHYS_BACKUP_KEY']})."
            )
        key = keyring.find(wanted)
        if key is None:
            given = ", ".join(each.fingerprint for each in (keyring.current, *keyring.previous))
            raise StepError(
                f"Backup {name} is encrypted with the key of fingerprint {wanted}; the Secret {SECRET} has {given}. "
                "Put that key into the Secret as well (key previous)."
            )
        try:
            wrapped = base64.b64decode(str(about["dataKey"]), validate=True)
            data_key = AESGCM(key.raw).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _wrapping(str(name)))
        except (InvalidTag, KeyError, ValueError):
            raise Undecipherable(
                f"{_FILE} of {name} was changed: its data key does not belong to it. Take another backup."
            ) from None
        return cls(data_key, {key: about[key] for key in about if key != "mac"})

    def sealer(self, name: str) -> FileSealer:
        """Return what encrypts one file."""
        salt = os.urandom(SALT_BYTES)
        return FileSealer(name, salt, self._derive(b"file", salt))

    def seal(self, name: str, content: bytes) -> bytes:
        """Return what is stored of a file whose content is at hand."""
        return self.sealer(name).seal(content, True)

    def open(self, name: str, stored: Readable) -> OpenedFile:
        """Return a file's content as a stream that is checked while it flows."""
        return OpenedFile(name, stored, lambda salt: self._derive(b"file", salt))

    def seal_manifest(self, content: bytes) -> bytes:
        """Return a ``tiphys.json`` as it is stored: private parts encrypted, authenticated as a whole."""
        document = loads(_FILE, content)
        document.pop("sealed", None)
        private = {
            file: {key: about.pop(key) for key in _PRIVATE if key in about} for file, about in document["files"].items()
        }
        if private := {file: held for file, held in private.items() if held}:
            document["sealed"] = base64.b64encode(self.seal(_FILE, _canonical(private))).decode()
        document["encryption"] = self.description
        document["encryption"] = {**self.description, "mac": self._mac(document)}
        return dumps(document)

    def open_manifest(self, content: bytes) -> bytes:
        """Return a ``tiphys.json`` as it was before it was stored, its ``encryption`` left in it.

        Raises:
            Undecipherable: it was changed.
        """
        import io

        document = loads(_FILE, content)
        about = dict(document["encryption"])
        mac = str(about.pop("mac", ""))
        if not hmac.compare_digest(mac, self._mac({**document, "encryption": about})):
            raise Undecipherable(
                f"{_FILE} of {document.get('name')} was changed after it was written (its HMAC differs): trust nothing "
                "in it. Take another backup."
            )
        if sealed := document.pop("sealed", None):
            opened = self.open(_FILE, io.BytesIO(base64.b64decode(sealed)))
            for file, held in json.loads(_all(opened)).items():
                document["files"][file] |= held
        return dumps(document)

    def _mac(self, document: Mapping[str, Any]) -> str:
        return hmac.digest(self._derive(b"manifest", b""), _canonical(document), "sha256").hex()

    def _derive(self, purpose: bytes, salt: bytes) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), 32, salt, b"tiphys " + purpose).derive(self._data_key)


class FileSealer:
    """Encrypts one file, piece by piece."""

    def __init__(self, name: str, salt: bytes, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._name, self._gcm, self._number = name, AESGCM(key), 0
        self._rest = b""
        self._head = MAGIC + salt

    def seal(self, content: bytes, last: bool) -> bytes:
        """Return what is stored of the next piece, as far as it is whole segments; `last` ends the file."""
        made, self._head = [self._head], b""
        content = self._rest + content
        view, start = memoryview(content), 0
        # Nothing is held back, so that a part of an upload does not fall below S3's least size: the last may be empty.
        while len(content) - start >= SEGMENT:
            made.append(self._one(view[start : start + SEGMENT], False))
            start += SEGMENT
        self._rest = content[start:]
        if last:
            made.append(self._one(self._rest, True))
        return b"".join(made)

    def _one(self, content: bytes | memoryview, last: bool) -> bytes:
        nonce = _nonce(self._number, last)
        self._number += 1
        return self._gcm.encrypt(nonce, content, self._name.encode() + b"\0" + nonce)


class OpenedFile:
    """The content of an encrypted file; nothing of a segment is given out before its tag is found right."""

    def __init__(self, name: str, stored: Readable, derive: Any) -> None:
        self._name, self._stored, self._derive = name, stored, derive
        self._number, self._ended = 0, False
        self._gcm: Any = None
        self._waiting, self._ready, self._at = b"", b"", 0

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, nothing at the end.

        Raises:
            Undecipherable: the file is damaged, cut, or another one.
        """
        while self._at == len(self._ready) and not self._ended:
            self._ready, self._at = self._segment(), 0
        part = self._ready[self._at : self._at + size]
        self._at += len(part)
        return part

    def close(self) -> None:
        """Let the stored file go."""
        self._stored.close()

    def _fill(self, size: int) -> None:
        parts, there = [self._waiting], len(self._waiting)
        while there < size and (part := self._stored.read(size - there)):
            parts.append(part)
            there += len(part)
        self._waiting = b"".join(parts)

    def _segment(self) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if self._gcm is None:
            self._fill(len(MAGIC) + SALT_BYTES)
            head, self._waiting = self._waiting, b""
            if len(head) < len(MAGIC) + SALT_BYTES or not head.startswith(MAGIC):
                raise Undecipherable(
                    f"{self._name} is not encrypted as {_FILE} says: it is cut off or replaced. Take another backup."
                )
            self._gcm = AESGCM(self._derive(head[len(MAGIC) :]))
        stored = SEGMENT + TAG_BYTES
        # One byte more tells whether another segment follows.
        self._fill(stored + 1)
        content, self._waiting = self._waiting[:stored], self._waiting[stored:]
        last = not self._waiting
        nonce = _nonce(self._number, last)
        try:
            opened: bytes = self._gcm.decrypt(nonce, content, self._name.encode() + b"\0" + nonce)
        except (InvalidTag, ValueError):
            raise Undecipherable(
                f"{self._name} cannot be decrypted at segment {self._number}: it is damaged, cut off, or not this "
                "file. Take another backup."
            ) from None
        self._number += 1
        # Not before the tag was found right: whoever reads on after an error is given no end.
        self._ended = last
        return opened


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(NONCE_BYTES - 1, "big") + bytes([last])


def _wrapping(backup: str) -> bytes:
    return b"tiphys data key of " + backup.encode()


def _canonical(document: Mapping[str, Any]) -> bytes:
    """Return JSON that does not depend on how a file was laid out."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _all(stream: Readable) -> bytes:
    parts = []
    while part := stream.read(1 << 20):
        parts.append(part)
    return b"".join(parts)
