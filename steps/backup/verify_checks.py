"""Step `verify-checks`: everything that is asked of the restored data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steps.backup.layout import prefix
from steps.backup.load_plan import read_plan
from steps.backup.load_rows import Target
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import Manifest
from steps.backup.objects import Bucket
from steps.backup.readers import reading
from steps.backup.restore import wait_for_primary
from steps.backup.source import S3Source, Source, read_all
from steps.backup.verify_content import compare_kinds, compare_tables
from steps.backup.verify_prepare import moment_of
from steps.backup.verify_queries import ask_all
from steps.backup.verify_record import CHECKS, ORDER, Checks, Order, dump, load, now
from steps.declare import artifact, input_file, option, outputs_folder, step
from steps.kube import client
from steps.log import log
from steps.mysql.connection import root_credentials
from steps.parameters import NAMESPACE_NAME


@dataclass(frozen=True)
class Checked:
    """What was found."""

    checks: Path = artifact("What each table, each kind of object and each query turned out to be.", CHECKS)


@step("verify-checks")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace of the scratch cluster.")
@input_file("--order", ORDER, "The order of verify-prepare.")
def verify_checks(namespace: str, order: Path) -> Checked:
    """Compare the restored data with the backup, check every table, and ask the user's queries."""
    given = load(Order, order)
    kube = client.connect(namespace)
    credentials = root_credentials(kube, kube.cluster(given.scratch))
    bucket = Bucket.from_environment(connections=given.parallel + 8)
    try:
        target = Target(wait_for_primary(kube, given.scratch, credentials), credentials)
        with reading(bucket, given.backup, given.run, lingers=True):
            found = check_all(given, S3Source(bucket, prefix(given.backup)), target)
    finally:
        bucket.close()
    path = outputs_folder() / CHECKS
    path.write_bytes(dump(found))
    return Checked(path)


def check_all(order: Order, source: Source, target: Target) -> Checks:
    """Ask everything of the restored data.

    Raises:
        Temporary: S3 or the server went away.
    """
    started = now()
    plan = read_plan(source)
    manifest = Manifest.parse(read_all(source, MANIFEST))
    with target.session() as connection:
        kinds = compare_kinds(connection, plan, source)
    tables = compare_tables(target, plan, manifest, order.parallel)
    bad = [table.name for table in tables if table.bad]
    log("tables compared", tables=len(tables), chunks=sum(table.same for table in tables), bad=bad)
    answers = ask_all(target, order.questions, moment_of(order), order.query_seconds)
    return Checks(started, now(), tuple(tables), tuple(kinds), tuple(answers))
