"""Doing a restore: guards first, then phase by phase, and back to what was there where it fails for good."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from steps.backup import load_aside, load_gtids, load_indexes, load_objects, load_state
from steps.backup.load_indexes import Indexes
from steps.backup.load_plan import SKIPPED, Plan, TablePlan, read_plan
from steps.backup.load_rows import Target, load_rows, load_statement
from steps.backup.load_scope import Existing, existing
from steps.backup.load_state import Restore
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.source import Source
from steps.declare import parameter
from steps.errors import Refused, StepError, Temporary
from steps.log import log
from steps.mysql.connection import query, quoted

LOCK = "tiphys.restore"
LOCK_SECONDS = 20
"""How long to wait for a restore that was killed: the server ends its session once it notices."""


@dataclass(frozen=True)
class Restored:
    """What restore tells."""

    backup: str = parameter("The backup that was restored.", is_global=True)
    rows: int = parameter("Rows in the restored tables.", is_global=True)
    seconds: float = parameter("Seconds since the restore began, pauses after a crash included.", is_global=True)
    seconds_applied: float = parameter("The same, until every ONLINE member had applied all of it.", is_global=True)
    gtid: str = parameter("Transactions that the backup holds.", is_global=True)
    gtids_taken: str = parameter(
        "Whether a new cluster counts the backup's transactions as its own: taken-over, too-many (nothing was done), "
        "or not-new where the cluster had something before.",
        is_global=True,
    )
    aside: str = parameter(
        "Schemas that hold the old tables where some were replaced, separated by commas: drop them when you are sure.",
        is_global=True,
    )
    checked: str = parameter(
        "By what the content was checked: sha256 of every file, or lengths, of a dump that has no tiphys.json.",
        is_global=True,
    )


def restore_from(
    source: Source,
    target: Target,
    *,
    name: str,
    only: list[str],
    tables: Sequence[tuple[str, str]] = (),
    replace: bool = False,
    must_be_empty: bool = False,
    take_gtids: bool = False,
    invisible_key: bool = False,
    parallel: int = 4,
    workflow: str = "",
) -> Restored:
    """Restore a dump into the group whose primary is `target`.

    Args:
        source: the dump.
        target: the primary.
        name: of the backup.
        only: schemas to restore; all where this and `tables` are empty.
        tables: single tables to restore, as schema and table.
        replace: move aside what is there, instead of refusing.
        must_be_empty: refuse a cluster that has any other schema.
        take_gtids: make a new cluster count the backup's transactions as its own.
        invisible_key: give tables without a key an invisible one.
        parallel: connections that load rows.
        workflow: this run's name; empty by hand.

    Raises:
        Refused: the cluster has what would be overwritten, or cannot take what is in the dump. Nothing was changed.
        StepError: the dump is damaged, or the server refuses something.
        Temporary: S3 or the server is not there; calling this again goes on.
    """
    started = time.monotonic()
    plan = read_plan(source, only, tables)
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
    order = Order(workflow, invisible_key, replace, must_be_empty, take_gtids, parallel)
    with target.session() as connection:
        check_server(connection, plan)
        if not query(connection, "SELECT GET_LOCK(%s, %s)", [LOCK, LOCK_SECONDS])[0][0]:
            raise Temporary("Another restore works on this cluster now: let it end, then run this one again.")
        work = _begin(connection, plan, order)
        if work.phase != "done":
            _work_or_put_back(connection, source, target, plan, work, parallel)
        rows = sum(load_state.loaded_rows(connection, work).values())
        seconds = next(each.seconds for each in load_state.restores(connection) if each.id == work.id)
        aside = load_aside.noted(connection, work).schemas
    places = ",".join(aside.values())
    log("restored", backup=name, rows=rows, seconds=round(seconds, 3), gtids=work.gtids, old_tables_in=places)
    checked = "sha256" if MANIFEST in source.files() else "lengths"
    seconds = round(seconds, 3)
    return Restored(name, rows, seconds, seconds, plan.instance.gtid_executed, work.gtids, places, checked)


@dataclass(frozen=True)
class Order:
    """How a restore was asked for: see `restore_from`."""

    workflow: str
    invisible_key: bool
    replace: bool
    must_be_empty: bool
    take_gtids: bool
    parallel: int


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


def check_new(connection: Any, plan: Plan, invisible_key: bool) -> None:
    """Refuse a cluster that has other schemas, before it is deployed anew; one where this restore broke off is well.

    Raises:
        Refused: it has some.
    """
    there = existing(connection)
    if load_state.decide(load_state.restores(connection), there, plan, "", invisible_key, replace=True) is None:
        _refuse_others(there)


def _refuse_others(there: Existing) -> None:
    if others := sorted(there.schemas - set(SKIPPED)):
        raise Refused(
            f"create=true is for a new cluster, and this one has {_listed(others)} already: nothing was restored. "
            "Leave create away to restore into it, or name another cluster."
        )


def _begin(connection: Any, plan: Plan, order: Order) -> Restore:
    """Go on with a restore that was begun before, or note a new one."""
    there = existing(connection)
    found = load_state.restores(connection)
    begun = load_state.decide(found, there, plan, order.workflow, order.invisible_key, order.replace)
    if begun is not None:
        log("going on", phase=begun.phase, begun_seconds_ago=round(begun.seconds, 1))
        return begun
    if order.must_be_empty:
        _refuse_others(there)
    others = there.schemas - set(SKIPPED)
    new = plan.whole and not others
    restore_id = uuid.uuid4().hex
    accounts = load_objects.missing_accounts(connection, plan)
    if accounts and (strange := sorted(others - {schema.name for schema in plan.schemas})):
        # Logins with old passwords are nobody's wish where others' data lives.
        log("accounts left out", accounts=accounts, because="the cluster has other schemas", schemas=strange)
        accounts = []
    return load_state.begin(
        connection,
        plan,
        order.workflow,
        order.invisible_key,
        accounts,
        gtids=("wanted" if order.take_gtids else "not-asked") if new else "not-new",
        aside=load_aside.find(connection, plan.scope, there, restore_id),
        restore_id=restore_id,
    )


def _work_or_put_back(
    connection: Any, source: Source, target: Target, plan: Plan, work: Restore, parallel: int
) -> None:
    """Do the work; where it fails for good and something was moved aside, put that back if nothing can be lost by it.

    Raises:
        StepError: as the work does; its message then also tells what became of the old tables.
        Temporary: as the work does: nothing is put back, the next attempt goes on.
    """
    if work.phase == load_state.RETREAT:
        load_aside.put_back(target, work)
        raise StepError(f"{work.failure} What had been moved aside is back where it was.")
    try:
        _work(connection, source, target, plan, work, parallel)
    except Temporary:
        raise
    except StepError as error:
        aside = load_aside.noted(connection, work)
        if not (places := aside.schemas):
            raise
        nothing_made = work.phase == "aside" and load_aside.still_there(connection, aside)
        if not nothing_made and (why := load_aside.untouched(target, work, plan)):
            told = ", ".join(f"{schema} in {place}" for schema, place in places.items())
            raise type(error)(
                f"{error} What had been moved aside stays there ({told}), since {why}. To go back by hand: move away "
                f"{work.scope}, RENAME the old tables back, and run column `back` of {load_state.SCHEMA}.restore_aside "
                f"for the restore {work.id}."
            ) from error
        load_state.note(connection, work, "failure", str(error))
        load_state.enter(connection, work, load_state.RETREAT)
        load_aside.put_back(target, work)
        raise type(error)(f"{error} What had been moved aside is back where it was.") from error


def _work(connection: Any, source: Source, target: Target, plan: Plan, work: Restore, parallel: int) -> None:
    """Do what is still missing of a restore, phase by phase.

    The dump's SQL runs in sessions of its own: it may leave them with any character set, mode or time zone.
    """
    accounts = work.accounts or []
    indexes = Indexes(plan)
    if work.phase == "aside":
        load_aside.go(target, work, plan)
        load_state.enter(connection, work, "tables")
    if work.phase == "tables":
        with target.session() as worker:
            load_objects.make_tables(worker, plan, indexes, invisible_key=work.invisible_key)
            load_objects.make_accounts(worker, plan, accounts)
        load_state.enter(connection, work, "rows")
    if work.phase == "rows":
        with load_state.local_infile(connection, work):
            load_rows(target, source, plan, work, parallel=parallel)
        count_rows(target, plan, load_state.loaded_rows(connection, work), parallel)
        load_state.enter(connection, work, "indexes")
    if work.phase == "indexes":
        load_indexes.add(target, plan, indexes, parallel)
        load_state.enter(connection, work, "objects")
    for make in (load_objects.make_objects, load_objects.make_events):
        with target.session() as worker:
            make(worker, plan)
    with target.session() as worker:
        load_objects.grant(worker, plan, accounts)
        load_aside.grant_again(worker, load_aside.noted(connection, work))
    if work.gtids == "wanted":
        with target.session() as worker:
            load_state.note(connection, work, "gtids", load_gtids.take_over(worker, plan.instance.gtid_executed))
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
