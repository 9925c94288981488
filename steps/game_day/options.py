"""The parameters of a game day, each declared once and shared by the steps that need it."""

from __future__ import annotations

from typing import Any

import click

from steps.declare import option
from steps.parameters import OBJECT_NAME, Text


class Drills(Text):
    """A list of drills; line breaks count as blanks."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the list in one line."""
        return super().convert(" ".join(str(value).split()), param, ctx)


DRILLS = Drills("a list of drills, NAME[:parameter=value[;parameter=value]]", "A-Za-z0-9,:;=. -", 1000, first="a-z")
NAMES_ONLY = Text("names of faults, without parameters", "a-z, -", 400, first="a-z", last="a-z")
"""What a webhook may ask for: an entry's parameters could say what a webhook must not."""

drills = option(
    "--drills",
    type=DRILLS,
    default="switchover, router-kill, crash",
    help="The drills in their order, apart by commas or blanks: a fault's name, maybe with parameters of its drill, "
    "such as drain-node:switchover-first=true;hold-seconds=5.",
)
workflow = option("--workflow", required=True, type=OBJECT_NAME, help="Name of the game day's workflow.")
allow_outage = option(
    "--allow-outage",
    type=click.BOOL,
    default=False,
    help="Also allow entries that take the majority away; each has to say allow-outage=true itself.",
)
on_failure = option(
    "--on-failure",
    type=click.Choice(["continue", "stop"]),
    default="continue",
    help="After a drill that is not a PASS: go on with the next once the cluster is steady again, or stop.",
)
steady_limit = option(
    "--steady-limit-seconds",
    type=click.IntRange(1, 3600),
    default=180,
    help="How long to wait for the cluster to be steady before each drill and after the last.",
)
drill_limit = option(
    "--drill-limit-minutes",
    type=click.IntRange(1, 24 * 60),
    default=60,
    help="How long one drill may take, with its wait for other runs and for an approval; then it is stopped.",
)
min_score = option(
    "--min-score",
    type=click.IntRange(0, 100),
    default=0,
    help="Fail below this score; 0 asks for none.",
)
fail_on_regression = option(
    "--fail-on-regression",
    type=click.BOOL,
    default=False,
    help="Fail where writes stopped for clearly longer than in the last five runs of the same drill.",
)
regression_percent = option(
    "--regression-percent",
    type=click.IntRange(1, 1000),
    default=50,
    help="How much longer than the median of the last five runs writes may stop before it is a regression.",
)
regression_floor = option(
    "--regression-floor-seconds",
    type=click.FloatRange(0, 600),
    default=1.0,
    help="A difference of fewer seconds than this is never a regression.",
)
dry_run = option(
    "--dry-run", type=click.BOOL, default=False, help="Only check the list and the cluster, and say what would be done."
)
