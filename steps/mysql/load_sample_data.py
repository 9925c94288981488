"""Step load-sample-data: fill a cluster with rows to try things on, the same rows for the same seed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import click

from steps.declare import option, parameter, step, target_options
from steps.errors import StepError, Temporary
from steps.kube import client
from steps.log import log, progress
from steps.mysql.applied import wait_for_all
from steps.mysql.connection import SERVER_PORT, Credentials, query, root_credentials, session
from steps.mysql.sample_data import SMALLEST, blocks
from steps.mysql.sample_load import DataSet, count_rows, decide, examine, load, prepare
from steps.mysql.topology import Topology, read_topology
from steps.parameters import Text

SCHEMA_NAME = Text("a schema's name", "A-Za-z0-9_", 64, first="A-Za-z")
SYSTEM = ("mysql", "sys", "information_schema", "performance_schema", "mysql_innodb_cluster_metadata")


@dataclass(frozen=True)
class Loaded:
    """What load-sample-data tells."""

    rows: int = parameter("Number of rows in the schema's tables.", is_global=True)
    rows_per_second: int = parameter("Rows written a second, until the last commit.", is_global=True)
    seconds: float = parameter("Seconds until the last commit.", is_global=True)
    seconds_applied: float = parameter("Seconds until every ONLINE member had applied all of it.", is_global=True)
    change: str = parameter("What was done: nothing, resumed or made.", is_global=True)


@step("load-sample-data")
@target_options
@option(
    "--rows",
    type=click.IntRange(SMALLEST, 200_000_000),
    default=100_000,
    help="How many rows to load, in all six tables together. 3.7 million are about 160 MB.",
)
@option("--schema", type=SCHEMA_NAME, default="employees", help="Schema to make and fill.")
@option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=1,
    help="Start of the random numbers: the same seed and rows give the same data.",
)
@option("--parallel", type=click.IntRange(1, 16), default=3, help="Number of connections to write over.")
@option(
    "--replace",
    type=click.BOOL,
    default=False,
    help="DROP the schema first, whatever it holds. Without this, a schema made by others is left alone.",
)
def load_sample_data(
    namespace: str, cluster: str, rows: int, schema: str, seed: int, parallel: int, replace: bool
) -> Loaded:
    """Fill a cluster with sample rows: departments, employees, their titles and salaries.

    Rows are written straight to the primary over several connections. The same seed and number of rows give the same
    data, however often and over however many connections; a load that broke off goes on where it stopped.
    """
    if schema.lower() in SYSTEM:
        raise click.BadParameter(f"{schema} is MySQL's own schema", param_hint="--schema")
    kube = client.connect(namespace)
    credentials = root_credentials(kube, kube.cluster(cluster))
    topology = read_topology(kube, cluster, credentials=credentials)
    if topology.primary is None:
        raise Temporary(f"{cluster} has no primary to write to: {topology.summary()}. Run check-cluster.")
    return fill(topology, credentials, schema, DataSet(rows, seed), parallel=parallel, replace=replace)


def fill(
    topology: Topology, credentials: Credentials, schema: str, wanted: DataSet, *, parallel: int, replace: bool
) -> Loaded:
    """Fill `schema` on a group whose primary is known.

    Raises:
        Refused: the schema is somebody else's.
        StepError: the tables do not hold what was asked for in the end.
    """
    assert topology.primary is not None
    host = topology.primary.address
    started = time.monotonic()
    with session(host, SERVER_PORT, credentials, what="the primary", read_timeout=300) as connection:
        found = examine(connection, schema)
        what = decide(found, schema, wanted, replace)
        log("schema examined", schema=schema, exists=found.exists, blocks_there=len(found.done), decision=what)
        if what == "make":
            prepare(connection, schema, wanted)
        done = found.done if what != "make" else frozenset[int]()
        todo = [block for block in blocks(wanted.rows) if block.number not in done]
        if todo:
            with progress(f"sample rows in {schema}", sum(block.rows for block in todo), "rows") as bar:
                load(host, credentials, schema, wanted, todo, parallel=parallel, progress=bar)
        seconds = time.monotonic() - started
        written = sum(block.rows for block in todo)
        gtids = str(query(connection, "SELECT @@global.gtid_executed")[0][0])
        count = count_rows(connection, schema)
    if count != wanted.rows:
        raise StepError(
            f"Schema {schema} has {count} rows, {wanted.rows} were asked for: somebody has written into it. "
            "Set replace=true to make it anew."
        )
    wait_for_all(topology, credentials, gtids)
    return Loaded(
        rows=count,
        rows_per_second=round(written / max(seconds, 0.001)),
        seconds=round(seconds, 3),
        seconds_applied=round(time.monotonic() - started, 3),
        change={"nothing": "nothing", "resume": "resumed", "make": "made"}[what],
    )
