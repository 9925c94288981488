"""The parameters that only the drill of a node has."""

from __future__ import annotations

import click

from steps.declare import option
from steps.parameters import OBJECT_NAME

target = option(
    "--target",
    type=click.Choice(["primary", "secondary", "router", "node"]),
    default="primary",
    help="Which node is drained: that of the primary, of a secondary, of a Router (without the primary, where there is "
    "such a node), or the one that parameter node names.",
)
node = option(
    "--node",
    type=OBJECT_NAME,
    default=None,
    help="Name of the node for target=node; one of the cluster's servers must run there.",
)
switchover_first = option(
    "--switchover-first",
    type=click.BOOL,
    default=False,
    help="Hand the primary over to a member on another node before the node is emptied.",
)
hold = option(
    "--hold-seconds",
    type=click.FloatRange(1, 3600),
    default=10,
    help="How long the node stays empty and cordoned.",
)
eviction_seconds = option(
    "--eviction-seconds",
    type=click.IntRange(0, 7200),
    default=0,
    help="How long evictions may take in all; 0 takes twice the longest grace period and 30 s more.",
)
empty_dir = option(
    "--empty-dir",
    type=click.Choice(["refuse", "evict"]),
    default="refuse",
    help="Pods of others that would lose an emptyDir volume: refuse the drill, or evict them.",
)
unmanaged = option(
    "--unmanaged",
    type=click.Choice(["refuse", "evict"]),
    default="refuse",
    help="Pods that nothing would make again: refuse the drill, or evict them for good.",
)
spread = option(
    "--spread-members",
    type=click.BOOL,
    default=True,
    help="Afterwards, evict a secondary that came back beside another member once more, if a node is free for it.",
)
