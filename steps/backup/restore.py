"""Step `restore`: a backup into an empty cluster, or chosen schemas of it into one that does not have them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import click

from steps.backup import load_objects, load_state
from steps.backup.catalogue import find
from steps.backup.load_plan import Plan, TablePlan, read_plan
from steps.backup.load_rows import Target, load_rows, load_statement
from steps.backup.load_state import Restore
from steps.backup.objects import Bucket
from steps.backup.source import Source
from steps.declare import option, parameter, step, target_options
from steps.errors import Refused, StepError, Temporary
from steps.kube import client
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.connection import Credentials, query, quoted, root_credentials
from steps.mysql.topology import read_topology
from steps.parameters import OBJECT_NAME, Text

SCHEMA_NAMES = Text("names of schemas, separated by commas", "A-Za-z0-9_,-", 2000)
LOCK = "tiphys.restore"
LOCK_SECONDS = 20
"""How long to wait for a restore that was killed: the server ends its session once it notices."""
ATTEMPTS = 4
"""How often the step itself goes on after the primary or S3 was lost."""

PRIMARY_SECONDS = 120.0
"""How long a group may take to elect a primary and let it take writes, at each attempt."""


@dataclass(frozen=True)
class Restored:
    """What restore tells."""

    backup: str = parameter("The backup that was restored.", is_global=True)
    rows: int = parameter("Rows in the restored tables.", is_global=True)
    seconds: float = parameter("Seconds since the restore began, pauses after a crash included.", is_global=True)
    gtid: str = parameter("Transactions that the backup holds.", is_global=True)


@step("restore")
@target_options
@option(
    "--backup",
    required=True,
    type=OBJECT_NAME,
    help="Name of the backup, or latest: the newest finished one of this same cluster.",
)
@option(
    "--schemas",
    type=SCHEMA_NAMES,
    default=None,
    help="Schemas to restore, separated by commas. Empty restores all of them, with accounts and grants.",
)
@option(
    "--invisible-key",
    type=click.BOOL,
    default=False,
    help="Give tables without a key an invisible primary key. Without this, a backup that has such tables is refused.",
)
@option("--parallel", type=click.IntRange(1, 32), default=4, help="Number of connections that load rows.")
def restore(
    namespace: str, cluster: str, backup: str, schemas: str | None, invisible_key: bool, parallel: int
) -> Restored:
    """Restore a backup from S3 into a cluster that does not have its schemas.

    Rows are streamed to the primary over several connections and checked on their way. A restore that broke off goes
    on where it stopped; nothing is loaded twice, and nothing is overwritten.
    """
    kube = client.connect(namespace)
    credentials = root_credentials(kube, kube.cluster(cluster))
    source = find(Bucket.from_environment(connections=parallel + 8), backup, cluster, namespace)
    name = source.prefix.rstrip("/").rpartition("/")[2]
    only = [each for each in (schemas or "").split(",") if each]
    for left in reversed(range(ATTEMPTS)):
        target = Target(wait_for_primary(kube, cluster, credentials), credentials)
        try:
            return restore_from(
                source,
                target,
                name=name,
                only=only,
                invisible_key=invisible_key,
                parallel=parallel,
                workflow=os.environ.get("TIPHYS_WORKFLOW", ""),
            )
        except Temporary as error:
            if not left:
                raise
            log("going on after an interruption", attempts_left=left, reason=str(error))
    raise AssertionError("the last attempt raises or returns")


def wait_for_primary(kube: Kube, cluster: str, credentials: Credentials, seconds: float = PRIMARY_SECONDS) -> str:
    """Return the address of the primary, once the majority names one and it takes writes.

    Raises:
        Temporary: there is none after so many seconds.
    """
    until = time.monotonic() + seconds
    while True:
        topology = read_topology(kube, cluster, credentials=credentials)
        primary = topology.primary
        # The others name a primary that has just died for some seconds more: it must answer for itself.
        own = topology.views.get(primary.pod) if primary is not None else None
        if primary is not None and own is not None and own.writable:
            return primary.address
        if time.monotonic() > until:
            raise Temporary(f"{cluster} has no primary that takes writes: {topology.summary()}. Run check-cluster.")
        log("waiting for a primary", group=topology.summary())
        time.sleep(2)


def restore_from(
    source: Source,
    target: Target,
    *,
    name: str,
    only: list[str],
    invisible_key: bool = False,
    parallel: int = 4,
    workflow: str = "",
) -> Restored:
    """Restore a dump into the group whose primary is `target`.

    Raises:
        Refused: the cluster has what would be overwritten, or cannot take what is in the dump. Nothing was changed.
        StepError: the dump is damaged, or the server refuses something.
        Temporary: S3 or the server is not there; calling this again goes on.
    """
    started = time.monotonic()
    plan = read_plan(source, only)
    stated = [table.rows for table in plan.tables]
    log(
        "backup read",
        place=plan.place,
        schemas=[schema.name for schema in plan.schemas],
        tables=len(plan.tables),
        chunks=len(plan.chunks),
        rows=None if None in stated else sum(rows or 0 for rows in stated),
        seconds=round(time.monotonic() - started, 3),
    )
    check_tables(plan.tables, invisible_key)
    with target.session() as connection:
        check_server(connection, plan)
        if not query(connection, "SELECT GET_LOCK(%s, %s)", [LOCK, LOCK_SECONDS])[0][0]:
            raise Temporary("Another restore works on this cluster now: let it end, then run this one again.")
        work = _begin(connection, plan, workflow, invisible_key)
        if work.phase != "done":
            _work(connection, source, target, plan, work, parallel)
        rows = sum(load_state.loaded_rows(connection, work).values())
        seconds = next(each.seconds for each in load_state.restores(connection) if each.id == work.id)
    log("restored", backup=name, rows=rows, seconds=round(seconds, 3))
    return Restored(name, rows, round(seconds, 3), plan.instance.gtid_executed)


def check_tables(tables: list[TablePlan], invisible_key: bool) -> None:
    """Refuse tables whose rows a group does not take, or that are written in a form that is not read here.

    Raises:
        Refused: the group does not take some; they are named.
        BadLayout: rows are in an unknown form.
    """
    for table in tables:
        load_statement(table.meta)
    foreign = [f"{table.name} ({table.shape.engine})" for table in tables if table.shape.engine.lower() != "innodb"]
    if foreign:
        raise Refused(
            f"A group takes InnoDB tables only, and the backup has others: {_listed(foreign)}. Nothing was changed. "
            "Restore the other schemas (schemas=a,b), or convert the tables and make a new backup."
        )
    keyless = [table.name for table in tables if not table.shape.has_key]
    if keyless and not invisible_key:
        raise Refused(
            f"A group refuses rows of tables without a primary key (error 3098): {_listed(keyless)}. Nothing was "
            "changed. Set invisible-key=true to give them an invisible one, or restore other schemas (schemas=a,b)."
        )


def _listed(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_server(connection: Any, plan: Plan) -> None:
    """Refuse a dump of a newer server than the one it goes to.

    Raises:
        Refused: it is newer.
    """
    mine = str(query(connection, "SELECT VERSION()")[0][0])
    theirs = plan.instance.server_version
    if _release(theirs) > _release(mine):
        raise Refused(
            f"The backup is of MySQL {theirs}, the cluster runs {mine}: an older server may not take it. Nothing was "
            "changed. Upgrade the cluster first."
        )


def _release(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def _begin(connection: Any, plan: Plan, workflow: str, invisible_key: bool) -> Restore:
    """Go on with a restore that was begun before, or note a new one."""
    existing = {str(row[0]) for row in query(connection, "SELECT schema_name FROM information_schema.schemata")}
    found = load_state.restores(connection)
    begun = load_state.decide(found, existing, plan, workflow, invisible_key)
    if begun is not None:
        log("going on", phase=begun.phase, begun_seconds_ago=round(begun.seconds, 1))
        return begun
    accounts = load_objects.missing_accounts(connection, plan)
    return load_state.begin(connection, plan, workflow, invisible_key, accounts)


def _work(connection: Any, source: Source, target: Target, plan: Plan, work: Restore, parallel: int) -> None:
    """Do what is still missing of a restore, phase by phase.

    The dump's SQL runs in sessions of its own: it may leave them with any character set, mode or time zone.
    """
    accounts = work.accounts or []
    if work.phase == "tables":
        with target.session() as worker:
            load_objects.make_tables(worker, plan, invisible_key=work.invisible_key)
            load_objects.make_accounts(worker, plan, accounts)
        load_state.enter(connection, work, "rows")
    if work.phase == "rows":
        with load_state.local_infile(connection, work):
            load_rows(target, source, plan, work, parallel=parallel)
        count_rows(target, plan, load_state.loaded_rows(connection, work), parallel)
        load_state.enter(connection, work, "objects")
    for make in (load_objects.make_objects, load_objects.make_events):
        with target.session() as worker:
            make(worker, plan)
    with target.session() as worker:
        load_objects.grant(worker, plan, accounts)
    load_state.enter(connection, work, "done")


def count_rows(target: Target, plan: Plan, loaded: Mapping[str, int], parallel: int) -> None:
    """Count every table's rows, and compare with what was loaded and what the backup says.

    Raises:
        StepError: they differ somewhere.
    """

    def count(table: TablePlan) -> str | None:
        with target.session() as connection:
            sql = f"SELECT COUNT(*) FROM {quoted(table.meta.schema)}.{quoted(table.meta.table)}"
            there = int(query(connection, sql)[0][0])
        brought = sum(loaded[chunk.file] for chunk in table.chunks)
        if there == brought and table.rows in (None, there):
            return None
        return f"{table.name} has {there} ({brought} were loaded, the backup says {table.rows})"

    with ThreadPoolExecutor(parallel) as pool:
        wrong = [said for said in pool.map(count, plan.tables) if said]
    if wrong:
        raise StepError(
            f"Rows are missing or too many: {_listed(wrong)}. The restore is not whole, and its state says so: drop "
            "the schemas and run it again, or take another backup."
        )
    log("rows counted", tables=len(plan.tables))
