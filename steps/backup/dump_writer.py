"""Writing the files of a backup: chunks compressed on their way, everything counted and hashed."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import zstandard

from steps.backup import layout
from steps.backup.dump_keys import Keys
from steps.backup.dump_rows import Block
from steps.backup.encryption import Cipher
from steps.backup.layout import Chunk
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import File, Manifest
from steps.backup.objects import AlreadyThere, Bucket, Upload
from steps.errors import StepError
from steps.log import log

LEVEL = 1
"""Compression level, as MySQL Shell's: higher ones cost more time than they save."""


class Writer:
    """Writes the files of one backup, from any thread, and remembers what each must be.

    Args:
        bucket: where to.
        prefix: of its objects, with the slash.
        advance: told of rows that were written.
        cipher: encrypts every file; None writes them as they are.

    Attributes:
        files: file name to what was written, of all files that are whole.
    """

    def __init__(
        self, bucket: Bucket, prefix: str, advance: Callable[[int], None], cipher: Cipher | None = None
    ) -> None:
        self.bucket, self.prefix, self.files = bucket, prefix, dict[str, File]()
        self.cipher = cipher
        self._advance, self._ending = advance, False
        self._lock = threading.Lock()

    def put(self, name: str, content: bytes) -> None:
        """Write a small file."""
        if self.cipher:
            content = self.cipher.seal(name, content)
        self.bucket.put(self.prefix + name, content)
        self._remember(name, File(len(content), hashlib.sha256(content).hexdigest()))

    def claim(self, name: str) -> None:
        """Make sure that nobody else writes this backup: make a file that must not be there, to be written later.

        Raises:
            AlreadyThere: somebody else has made it; nothing of theirs was touched.
        """
        content = f"-- {secrets.token_hex(16)}\n".encode()
        self.bucket.put_new(self.prefix + name, content)
        self._remember(name, File(len(content), hashlib.sha256(content).hexdigest()))

    def chunk(self, chunk: Chunk, blocks: Iterable[Block], keys: Keys | None = None) -> None:
        """Write one chunk whose number and place are known; `keys` are its rows, where they come in the key's order."""
        stream = _Stream(self, chunk, keys)
        try:
            for block in blocks:
                stream.write(block)
            stream.finish(chunk)
        except BaseException:
            stream.upload.abort()
            raise

    def chunks(self, base: str, blocks: Iterable[Block], bytes_per_chunk: int, keys: Keys | None = None) -> None:
        """Write rows of which nobody knows how many come, as many chunks as they need.

        Where the rows come in the order of a primary key, `keys` are all of them.

        Which chunk is the last shows in its name, and a name cannot change once a part is sent. So where the rows end
        in a chunk that is on its way under the other name, an empty last one follows.
        """
        number = rows = 0

        def following(last: bool) -> _Stream:
            return _Stream(self, Chunk(base, number, last), replace(keys, offset=rows) if keys else None)

        stream = following(False)
        try:
            for block in blocks:
                if stream.length >= bytes_per_chunk:
                    rest = stream.end_row(block)
                    if stream.whole:
                        stream.finish(Chunk(base, number, False))
                        number, rows = number + 1, rows + stream.rows
                        stream = following(False)
                    block = rest
                stream.write(block)
            if stream.upload.begun:
                stream.finish(Chunk(base, number, False))
                number, rows = number + 1, rows + stream.rows
                stream = following(True)
            stream.finish(Chunk(base, number, True))
        except BaseException:
            stream.upload.abort()
            raise

    def upload(self, name: str) -> Upload:
        """Return an upload of one file, whose name may change until its first part is sent."""
        cipher = self.cipher
        sealer = (lambda key: cipher.sealer(key.removeprefix(self.prefix))) if cipher else None
        return Upload(self.bucket, self.prefix + name, sealer)

    def end(self, manifest: Manifest) -> None:
        """Write ``tiphys.json``: from now on the backup exists.

        Raises:
            AlreadyThere: there is another one.
        """
        content = manifest.dump()
        if self.cipher:
            content = self.cipher.seal_manifest(content)
        self._ending = True
        try:
            self.bucket.put_new(self.prefix + MANIFEST, content)
        except AlreadyThere:
            self._ending = False
            raise

    def give_up(self) -> None:
        """Delete what was written; where S3 does not let us, it stays, and is no backup without its ``tiphys.json``.

        An end mark whose answer was lost may have been written all the same, so it goes first: as long as it cannot
        be deleted, the backup may be whole, and its files stay.
        """
        names = [MANIFEST] * self._ending + list(self.files)
        for done, name in enumerate(names):
            try:
                self.bucket.delete(self.prefix + name)
            except StepError as error:
                # The others would fail as slowly as this one.
                log("files left behind", prefix=self.prefix, files=len(names) - done, reason=str(error))
                return
        log("files removed", prefix=self.prefix, files=len(names))

    def count(self, rows: int) -> None:
        """Tell the progress of rows that are on their way."""
        with self._lock:
            self._advance(rows)

    def _remember(self, name: str, file: File) -> None:
        with self._lock:
            self.files[name] = file


class _Stream:
    def __init__(self, writer: Writer, chunk: Chunk, keys: Keys | None = None) -> None:
        self.writer, self.keys = writer, keys
        self.upload = writer.upload(chunk.file)
        self.length = self.rows = 0
        self.whole = True
        self._sha256 = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()

    def end_row(self, block: Block) -> Block:
        """Write what of a block belongs to a row that is begun, and return the rest; `whole` tells if the row ended."""
        if self.whole or not block.rows:
            return block
        # A line feed of a value is escaped as another character, so the first one ends the row.
        end = bytes(block.data).index(b"\n") + 1
        self.write(Block(block.data[:end], 1))
        return Block(block.data[end:], block.rows - 1)

    def write(self, block: Block) -> None:
        if not len(block.data):
            return
        self.whole = block.data[-1] == ord("\n")
        self.upload.write(self._compressor.compress(block.data))
        self._sha256.update(block.data)
        self.length += len(block.data)
        self.rows += block.rows
        self.writer.count(block.rows)

    def finish(self, chunk: Chunk) -> None:
        """End the object under the name that `chunk` gives, and write its index beside it."""
        self.upload.key = self.upload.key if self.upload.begun else self.writer.prefix + chunk.file
        self.upload.write(self._compressor.flush())
        self.upload.finish()
        name = self.upload.key.removeprefix(self.writer.prefix)
        keys = None if self.keys is None else self.keys.described()
        upload, data_sha256 = self.upload, self._sha256.hexdigest()
        self.writer._remember(name, File(upload.size, upload.sha256, self.rows, self.length, data_sha256, keys))
        self.writer.put(f"{name}.idx", layout.index_of(self.length))
