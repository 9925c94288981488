"""The parameters of a failover drill, each declared once and shared by the steps that need it."""

from __future__ import annotations

import click

from steps.declare import option
from steps.drill.faults import FAULTS
from steps.drill.site import ANNOTATION, APP_URL
from steps.parameters import OBJECT_NAME

workflow = option(
    "--workflow", required=True, type=OBJECT_NAME, help="Name of the workflow; it also names the ledger's rows."
)
fault = option(
    "--fault",
    required=True,
    type=click.Choice(list(FAULTS)),
    help="What happens to the primary: a planned switchover, its pod deleted in good order, mysqld killed, its "
    "container restarted in good order, mysqld frozen or its pod cut off from the network for hold-seconds; or a "
    "Router killed instead. With allow-outage also: a majority of the servers killed at once, or all of them.",
)
allow_outage = option(
    "--allow-outage",
    type=click.BOOL,
    default=False,
    help="Allow a fault that stops the whole cluster until the operator has repaired it: quorum-loss, full-outage.",
)
survivor = option(
    "--survivor",
    type=click.Choice(["primary", "secondary"]),
    default="primary",
    help="Who is kept by quorum-loss: the primary, which has every acknowledged write, or a secondary, which may lack "
    "the latest ones.",
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
abort_no_quorum = option(
    "--abort-no-quorum-seconds",
    type=click.FloatRange(1, 3600),
    default=30,
    help="Stop the drill once the group has had no quorum for so long; not where the fault is an outage.",
)
abort_no_primary = option(
    "--abort-no-primary-seconds",
    type=click.FloatRange(1, 3600),
    default=90,
    help="Stop the drill once the group has had no primary for so long; not where the fault is an outage.",
)
abort_write_downtime = option(
    "--abort-write-downtime-seconds",
    type=click.FloatRange(0, 3600),
    default=0,
    help="Stop the drill once no write was acknowledged for so long. 0 takes four times max-write-downtime-seconds and "
    "at least 120 s, and does not stop an outage. The budget itself only decides between PASS and FAIL.",
)
hold = option(
    "--hold-seconds",
    type=click.FloatRange(1, 120),
    default=30,
    help="How long a fault that lasts goes on (freeze, partition); the others are over at once.",
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
    help="Only say what would be done; change nothing. It fails where the run itself would be refused.",
)
keep_ledger = option(
    "--keep-ledger",
    type=click.BOOL,
    default=False,
    help="Keep the drill's rows in table tiphys.ledger instead of deleting them after the verification.",
)
app_url = option(
    "--app-url",
    type=APP_URL,
    default=None,
    help="Address of an application on the cluster (http or https): it is asked ten times a second, and the report "
    f"tells what its users felt. Without it the cluster's annotation {ANNOTATION} counts; none asks nothing.",
)
app_verify_tls = option(
    "--app-verify-tls",
    type=click.BOOL,
    default=True,
    help="Whether the application's https certificate has to be valid.",
)
