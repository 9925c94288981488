"""The parameters of a failover drill, each declared once and shared by the steps that need it."""

from __future__ import annotations

import click

from steps.declare import option
from steps.drill.faults import FAULTS
from steps.parameters import OBJECT_NAME

workflow = option(
    "--workflow", required=True, type=OBJECT_NAME, help="Name of the workflow; it also names the ledger's rows."
)
fault = option(
    "--fault",
    required=True,
    type=click.Choice(list(FAULTS)),
    help="What happens to the primary: a planned switchover, its pod deleted in good order, mysqld killed, its "
    "container restarted in good order, mysqld frozen for hold-seconds; or a Router killed instead.",
)
max_write_downtime = option(
    "--max-write-downtime-seconds",
    type=click.FloatRange(0, 3600),
    default=30,
    help="Budget: the longest time without an acknowledged write that is still a PASS.",
)
max_lost_writes = option(
    "--max-lost-writes",
    type=click.IntRange(0),
    default=0,
    help="Budget: acknowledged writes that may be missing afterwards.",
)
steady = option(
    "--steady-seconds",
    type=click.FloatRange(1, 600),
    default=3,
    help="How long every write and read must succeed before the fault is injected.",
)
settle = option(
    "--settle-seconds",
    type=click.FloatRange(0, 600),
    default=2,
    help="How long to go on measuring once the group is whole again.",
)
timeout = option(
    "--timeout-seconds",
    type=click.FloatRange(5, 3600),
    default=180,
    help="How long to wait for the group to be whole again before giving up.",
)
hold = option(
    "--hold-seconds",
    type=click.FloatRange(1, 120),
    default=30,
    help="How long a fault that lasts goes on (freeze); the others are over at once.",
)
write_interval = option(
    "--write-interval-ms",
    type=click.IntRange(5, 1000),
    default=20,
    help="Milliseconds between two writes (or reads) of one client.",
)
writers = option("--writers", type=click.IntRange(1, 32), default=4, help="Number of writing clients.")
readers = option("--readers", type=click.IntRange(0, 32), default=2, help="Number of reading clients.")
dry_run = option(
    "--dry-run",
    type=click.BOOL,
    default=False,
    help="Only check the guards and say what would be done; change nothing.",
)
keep_ledger = option(
    "--keep-ledger",
    type=click.BOOL,
    default=False,
    help="Keep the drill's rows in table tiphys.ledger instead of deleting them after the verification.",
)
