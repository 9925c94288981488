"""``tiphys.json``: what a backup must hold, written last. A backup without it does not exist."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steps.backup.layout import BadLayout, chunk_of, dumps, loads

FILE = "tiphys.json"
FORMAT = 1
"""Version of this file; a larger one is refused."""


@dataclass(frozen=True)
class File:
    """One object of the backup.

    Attributes:
        size: of the object, in bytes.
        sha256: of the object's bytes, in hex.
        rows: of a chunk, None for other files.
        data_bytes: of a chunk before compression, None for other files.
        data_sha256: of a chunk before compression, in hex; None for other files, and where nobody counted it.
        keys: of a chunk: which rows it holds, in the primary key's order (:class:`steps.backup.dump_keys.Keys`). None
            where the table has no primary key, or the chunk was written by another program.
    """

    size: int
    sha256: str
    rows: int | None = None
    data_bytes: int | None = None
    data_sha256: str | None = None
    keys: dict[str, Any] | None = None


@dataclass(frozen=True)
class Manifest:
    """The whole file.

    Attributes:
        name: of the backup: the folder's name.
        cluster: where it was made.
        namespace: of that cluster.
        server: UUID of the server that was read.
        pod: its pod.
        server_version: as the server says it.
        gtid_executed: the transactions that the backup holds, all of them and no other.
        begin: ISO time, UTC, of the moment that the backup holds.
        end: ISO time, UTC, when everything but this file was written.
        tables: schema to table to number of rows.
        keyless: tables (``schema.table``) without a key: a group refuses their rows.
        files: file name to what it must be; every file of the backup but this one.
        method: "tiphys", or "operator" where the operator's MySQL Shell wrote the dump; rows may then be unknown.
        encryption: how the files are encrypted, None where they are not.
        program: name and version of what wrote this file.
        include: patterns of what was wanted only; empty for everything.
        exclude: patterns of what was left out.
    """

    name: str
    cluster: str
    namespace: str
    server: str
    pod: str
    server_version: str
    gtid_executed: str
    begin: str
    end: str
    tables: dict[str, dict[str, int]]
    keyless: list[str] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)
    method: str = "tiphys"
    encryption: dict[str, Any] | None = None
    program: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(sum(tables.values()) for tables in self.tables.values())

    @property
    def size(self) -> int:
        """Bytes of all objects but this one."""
        return sum(file.size for file in self.files.values())

    def chunks(self, base: str) -> list[str]:
        """Return the chunk files of one table or partition (by its base name), in order.

        Raises:
            BadLayout: one is missing.
        """
        found = [(chunk, file) for file in self.files if (chunk := chunk_of(file)) and chunk.base == base]
        found.sort(key=lambda pair: pair[0].number)
        seen = [(chunk.number, chunk.last) for chunk, _ in found]
        if not found or seen != [(number, number == len(found) - 1) for number in range(len(found))]:
            raise BadLayout(f"Chunks of {base} are missing: {FILE} names {[file for _, file in found]!r:.200}")
        return [file for _, file in found]

    def dump(self) -> bytes:
        """Return the file's content."""
        return dumps(
            {
                "format": FORMAT,
                "name": self.name,
                "cluster": self.cluster,
                "namespace": self.namespace,
                "server": self.server,
                "pod": self.pod,
                "serverVersion": self.server_version,
                "gtidExecuted": self.gtid_executed,
                "begin": self.begin,
                "end": self.end,
                "rows": self.rows,
                "bytes": self.size,
                "include": list(self.include),
                "exclude": list(self.exclude),
                "tables": self.tables,
                "keyless": self.keyless,
                "method": self.method,
                "encryption": self.encryption,
                "program": self.program,
                "files": {name: _described(file) for name, file in sorted(self.files.items())},
            }
        )

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Read ``tiphys.json``.

        Raises:
            BadLayout: it is damaged, or of a newer version.
        """
        document = loads(FILE, content)
        if document.get("format") != FORMAT:
            raise BadLayout(
                f"{FILE} has format {document.get('format')!r}, this program reads {FORMAT}: use the program's version "
                "that made the backup, or a newer one."
            )
        try:
            files = {
                str(name): File(
                    int(one["bytes"]),
                    str(one["sha256"]),
                    one.get("rows"),
                    one.get("dataBytes"),
                    one.get("dataSha256"),
                    one.get("keys"),
                )
                for name, one in document["files"].items()
            }
            texts = ("name", "cluster", "namespace", "server", "pod", "begin", "end")
            made = cls(
                **{key: str(document[key]) for key in texts},
                server_version=str(document["serverVersion"]),
                gtid_executed=str(document["gtidExecuted"]),
                tables={s: {t: int(n) for t, n in tables.items()} for s, tables in document["tables"].items()},
                keyless=[str(table) for table in document["keyless"]],
                files=files,
                method=str(document.get("method") or "tiphys"),
                encryption=document.get("encryption"),
                program=str(document.get("program") or ""),
                include=tuple(str(each) for each in document.get("include") or ()),
                exclude=tuple(str(each) for each in document.get("exclude") or ()),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadLayout(f"{FILE} is damaged: {type(error).__name__} {error}. Take another backup.") from error
        if (made.rows, made.size) != (document.get("rows"), document.get("bytes")):
            raise BadLayout(f"{FILE} is damaged: its sums do not agree with its parts. Take another backup.")
        return made


def _described(file: File) -> dict[str, Any]:
    described: dict[str, Any] = {"bytes": file.size, "sha256": file.sha256}
    optional = {
        "rows": file.rows,
        "dataBytes": file.data_bytes,
        "dataSha256": file.data_sha256,
        "keys": file.keys,
    }
    return described | {name: value for name, value in optional.items() if value is not None}
