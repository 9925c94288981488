"""`spec.initDB` of a new cluster: its first server is filled with a dump before the group exists.

As MySQL Shell's loadDump() by Oracle's sidecar: as the operator's administrator, into the binary log, without the
dump's accounts unless `loadUsers` asks for them, and knowing nothing of a ``tiphys.json``. The loader is the steps'
own, so it leaves its record of the load (schema `tiphys`), which Oracle's does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steps.backup import layout
from steps.backup.load_rows import Target
from steps.backup.manifest import FILE
from steps.backup.restore import restore_from
from steps.backup.source import S3Source, Source, Stream
from steps.mysql.connection import SERVER_PORT, Credentials
from tiphys.local.operator.accounts import Account
from tiphys.local.operator.aws_files import bucket
from tiphys.local.operator.backup_spec import InitSpec
from tiphys.local.operator.sql import Session

THREADS = 4
RUN = "spec.initDB"


class ShellSource:
    """A dump as MySQL Shell sees it: no ``tiphys.json``, and no accounts unless they are wanted."""

    def __init__(self, inner: Source, users: bool) -> None:
        self.inner, self.place = inner, inner.place
        self._hidden = {FILE} if users else {FILE, layout.USERS_SQL}

    def files(self) -> Mapping[str, int]:
        """Return the files that it looks at, and their sizes."""
        return {name: size for name, size in self.inner.files().items() if name not in self._hidden}

    def open(self, name: str) -> Stream:
        """Open one file."""
        return self.inner.open(name)


def fill(address: str, spec: InitSpec, files: Mapping[str, str], admin: Account) -> int:
    """Load the dump into the server at `address`; return its rows. What was loaded before a kill stays.

    Raises:
        BadFiles: the Secret's files are of no use.
        StepError: the dump is damaged, or its schemas are there already.
        SqlError: the server does not answer.
    """
    threads = int(spec.options.get("threads") or THREADS)
    place = bucket(spec.place, files, connections=threads + 8)
    credentials = Credentials(admin.user, admin.password)
    try:
        with Session(admin.user, admin.password, address=address) as session:
            # It comes up read-only, for a member that is not in its group must not take writes.
            session.run("SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
        source = ShellSource(S3Source(place, spec.place.folder()), bool(spec.options.get("loadUsers")))
        done = restore_from(
            source,
            Target(address, credentials, SERVER_PORT),
            name=spec.place.prefix.rpartition("/")[2],
            only=[],
            parallel=threads,
            # So named, one that was killed after its end is known to be over.
            workflow=RUN,
        )
        with Session(admin.user, admin.password, address=address) as session:
            session.run("SET GLOBAL super_read_only=ON")
        return done.rows
    finally:
        place.close()


def wanted(cluster: Mapping[str, Any], pod: str) -> bool:
    """Whether this pod's server is to be filled: the first one of a cluster that has never been ONLINE."""
    created = (cluster.get("status") or {}).get("createTime")
    return pod.endswith("-0") and not created and bool((cluster.get("spec") or {}).get("initDB"))
