"""The pod of a MySQLBackup: dumps a cluster to S3 in MySQL Shell's layout, and tells the object how it went.

As Oracle's job does, it connects as the operator's own administrator, which is why a dump has events and triggers:
the account of the Secret `{cluster}-backup` could read neither, and Oracle's job does not use it. And as MySQL
Shell's dumpInstance() does, it leaves out the server's own schemas and accounts, but neither the group's metadata nor
the operator's accounts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steps.backup import dump_catalog
from steps.backup.dump_catalog import Selection
from steps.backup.dump_run import Order, write_dump
from steps.backup.dump_snapshot import snapshot
from steps.backup.objects import Bucket
from steps.errors import StepError
from steps.log import set_step
from steps.mysql.connection import SERVER_PORT, Credentials
from tiphys.local.operator import names
from tiphys.local.operator.accounts import Account, account
from tiphys.local.operator.aws_files import BadFiles, bucket
from tiphys.local.operator.backup_spec import BackupSpec, parse_backup
from tiphys.local.operator.helper import Api, options, say
from tiphys.local.operator.publish import now
from tiphys.local.operator.spec import InvalidSpec
from tiphys.local.operator.sql import Session, SqlError

API = "/apis/mysql.oracle.com/v2"
BYTES_PER_CHUNK = 64 * 1000 * 1000
THREADS = 4
DUMPER = "stand-in for MySQL Shell"
"""Who made the dump, as its ``@.json`` says: nobody may take it for a backup of ours that was never finished."""

_SELF = """\
SELECT member_role, member_state,
       (SELECT count_transactions_remote_in_applier_queue FROM performance_schema.replication_group_member_stats
         WHERE member_id = @@server_uuid)
  FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid"""


_PART = r"`(?:[^`]|``)*`|[^.`]+"


def _plain(part: str) -> str:
    return part[1:-1].replace("``", "`") if part.startswith("`") else part


class NoSource(Exception):
    """No server can be read; the message says what was seen."""


@dataclass(frozen=True)
class ShellSelection(Selection):
    """What dumpInstance() takes by its options: exact names in place of patterns."""

    options: Mapping[str, Any] | None = None

    def _named(self, option: str) -> set[str]:
        """Return names that may be quoted, as whole or part by part, plain."""
        names = (str(name) for name in (self.options or {}).get(option) or [])
        return {".".join(_plain(part) for part in re.findall(_PART, name)) for name in names}

    def schema(self, schema: str) -> bool:
        """Whether a schema is wanted."""
        wanted = self._named("includeSchemas")
        return (not wanted or schema in wanted) and schema not in self._named("excludeSchemas")

    def table(self, schema: str, table: str) -> bool:
        """Whether a table or view is wanted; includeTables restricts only the schemas that it names."""
        full, wanted = f"{schema}.{table}", self._named("includeTables")
        of_schema = {name for name in wanted if name.startswith(f"{schema}.")}
        return (not of_schema or full in of_schema) and full not in self._named("excludeTables")

    def user(self, name: str) -> bool:
        """Whether an account is wanted."""
        unwanted = {each.partition("@")[0].strip("'\"") for each in self._named("excludeUsers")}
        return not name.startswith("mysql.") and name not in unwanted


def pick_source(pods: Sequence[Mapping[str, Any]], admin: Account) -> tuple[str, str]:
    """Return name and address of the server to read: the ONLINE secondary with the shortest queue, else the primary.

    Raises:
        NoSource: no server is ONLINE.
    """
    found, seen = [], []
    for pod in pods:
        name, address = str(pod["metadata"]["name"]), str((pod.get("status") or {}).get("podIP") or "")
        if not address or pod["metadata"].get("deletionTimestamp"):
            continue
        try:
            with Session(admin.user, admin.password, address=address) as asked:
                rows = asked.rows(_SELF)
        except SqlError as error:
            seen.append(f"{name} does not answer ({error.errno})")
            continue
        role, state, behind = rows[0] if rows else ("", "OFFLINE", 0)
        seen.append(f"{name} {state} {role}")
        if state == "ONLINE":
            found.append((role != "SECONDARY", int(behind or 0), name, address))
    if not found:
        raise NoSource(f"no server to back up from: {'; '.join(seen) or 'no pods'}")
    _, _, name, address = min(found)
    return name, address


def dump(place: Bucket, prefix: str, spec: BackupSpec, source: tuple[str, str], admin: Account, namespace: str) -> int:
    """Write the dump; return its rows.

    Raises:
        StepError: the server or the bucket does not do its part, or there is something below the prefix already.
    """
    if place.keys(prefix):
        raise StepError(f"s3://{place.name}/{prefix} is not empty: a dump goes into an empty folder only")
    pod, address = source
    credentials = Credentials(admin.user, admin.password)
    threads = int(spec.options.get("threads") or THREADS)
    size = int(spec.options.get("bytesPerChunk") or BYTES_PER_CHUNK)
    own = tuple(name for name in dump_catalog.SYSTEM_SCHEMAS if not name.startswith(("mysql_innodb_", "tiphys")))
    selection = ShellSelection(options=spec.options, system_schemas=own)
    # Like MySQL Shell's, the dump of a secondary has every event as DISABLE ON REPLICA, since nothing is put right.
    order = Order(spec.output, spec.cluster, namespace, pod, selection, frozenset(), size, dumper=DUMPER)
    with snapshot(address, SERVER_PORT, credentials, threads, what=pod) as moment:
        return write_dump(place, prefix, moment, order).rows


def main(argv: Sequence[str] | None = None) -> int:
    """Make one dump."""
    given = options("backup_run", argv, "backup", "files")
    set_step("operator-backup-job")
    api = Api(given.home, given.namespace)
    path = f"{API}/namespaces/{given.namespace}/mysqlbackups/{given.backup}/status"

    def tell(**status: Any) -> None:
        api.call("PATCH", path, {"status": status}, "application/merge-patch+json")

    started, begun = now(), datetime.now(UTC)
    output = given.pod
    tell(status="Running", startTime=started, output=output)
    try:
        obj = api.get(API, "mysqlbackups", given.backup)
        spec = parse_backup(obj, api.cluster(obj["spec"]["clusterName"]))
        admin = account(api.secret(f"{spec.cluster}-privsecrets"), "clusterAdminUsername", "clusterAdminPassword")
        pods = api.pods(f"component=mysqld,{names.LABEL_CLUSTER}={spec.cluster}")
        source = pick_source(pods, admin)
        files = {each.name: each.read_text() for each in Path(given.files).iterdir() if each.is_file()}
        place = bucket(spec.place, files, connections=16)
        rows = dump(place, spec.place.folder(output), spec, source, admin, given.namespace)
    except (StepError, InvalidSpec, BadFiles, NoSource, SqlError, OSError) as error:
        say("failed", error=str(error))
        tell(status="Error", completionTime=now(), elapsedTime=_elapsed(begun), message=str(error), output=output)
        return 1
    host = f"{source[0]}.{spec.cluster}-instances.{given.namespace}.svc.cluster.local"
    tell(
        status="Completed",
        startTime=started,
        completionTime=now(),
        elapsedTime=_elapsed(begun),
        output=output,
        method="dump-instance/s3",
        source=f"{admin.user}@{host}:{SERVER_PORT}",
        bucket=spec.place.bucket,
    )
    say("completed", output=output, rows=rows)
    return 0


def _elapsed(begun: datetime) -> str:
    minutes, seconds = divmod(int((datetime.now(UTC) - begun).total_seconds()), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


if __name__ == "__main__":
    sys.exit(main())
