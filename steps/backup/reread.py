"""Reading the rows of a backup's chunk again, off any server, as the very bytes that the backup wrote.

`verify-backup` compares a restored table with the backup chunk by chunk: the SHA-256 of what this yields must be the
chunk's `data_sha256`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from steps.backup.dump_columns import COLUMNS_SQL, KEY_SQL, columns_of, key_of
from steps.backup.dump_keys import Keys
from steps.backup.dump_rows import SESSION_SQL, Source, read
from steps.backup.layout import BadLayout
from steps.backup.manifest import File
from steps.errors import StepError
from steps.mysql.connection import query


def reread(connection: Any, schema: str, table: str, file: File) -> Iterator[bytes]:
    """Yield the rows that a chunk holds, as they are now in the table, in the backup's order and form.

    Args:
        connection: of `steps.mysql.connection`; its session's settings are changed, and no other statement may run on
            it before the end.
        schema: of the table, here.
        table: its name, here.
        file: the chunk, with `keys`.

    Raises:
        BadLayout: the chunk has no `keys` (a table without a primary key, another program's dump), or damaged ones.
        StepError: there is no such table here, or its key is another one.
    """
    if file.keys is None or file.rows is None:
        raise BadLayout(
            f"{schema}.{table}: this chunk has no keys, so nobody knows which rows it held: count its rows."
        )
    keys = Keys.parse(file.keys)
    columns = columns_of(query(connection, COLUMNS_SQL, [schema, table]))
    key = key_of(query(connection, KEY_SQL, [schema, table]), columns)
    if len(key) < max(1, len(keys.low), len(keys.high)):
        raise StepError(f"{schema}.{table} has not the primary key by which the backup read it: restore it again.")
    source = Source(schema, table, tuple(column for column in columns if not column.generated), key, keys.partition)
    # Not cut by its key: the chunk holds as many rows as it says. More rows after it show in a count.
    limit = "" if keys.low or keys.high else f" LIMIT {file.rows} OFFSET {keys.offset}"
    query(connection, SESSION_SQL)
    for block in read(connection, source, keys, limit):
        yield bytes(block.data)
