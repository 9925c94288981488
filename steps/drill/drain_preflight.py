"""Step `drain-preflight`: may this node be drained now, and what would go? Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from steps.declare import parameter, step, target_options
from steps.drill import drain_options, options
from steps.log import log


@dataclass(frozen=True)
class DrainPreflight:
    """What the guards found."""

    go: bool = parameter("Whether the drill goes on: true unless this is a dry run.")
    needs_approval: bool = parameter("Whether somebody has to approve, as the cluster is a production one.")
    node: str = parameter("The node that is drained.", is_global=True)
    plan: str = parameter("What the drill does, or would do, to whom, and what was checked before.", is_global=True)


@step("drain-preflight")
@target_options
@options.workflow
@drain_options.target
@drain_options.node
@drain_options.switchover_first
@drain_options.eviction_seconds
@drain_options.empty_dir
@drain_options.unmanaged
@options.app_url
@options.app_verify_tls
@options.dry_run
def drain_preflight(
    namespace: str,
    cluster: str,
    workflow: str,
    target: str,
    node: str | None,
    switchover_first: bool,
    eviction_seconds: int,
    empty_dir: str,
    unmanaged: str,
    app_url: str | None,
    app_verify_tls: bool,
    dry_run: bool,
) -> DrainPreflight:
    """Check that a node may be drained, and say what would go. The dry run ends here."""
    from steps.drill.drain import DrainNode
    from steps.drill.drain_plan import plan
    from steps.drill.drain_survey import Wish, survey
    from steps.drill.guards import look, require_safe
    from steps.drill.site import site_of
    from steps.drill.users import require_answers
    from steps.kube.client import connect
    from steps.mysql.protection import judge_protection, protection_of, read_backups

    kube = connect(namespace)
    facts, scene = look(kube, cluster, workflow)
    asked = (node or "") if target == "node" else ""
    wish = Wish(workflow, target, asked, switchover_first, eviction_seconds, empty_dir == "evict", unmanaged == "evict")
    found = survey(kube, cluster, facts.topology, wish)
    fault = DrainNode(found, wish)
    require_safe(facts, fault)
    kept = kube.cluster(cluster)
    protection = judge_protection(protection_of(kept, read_backups([kept])))
    told = plan(
        facts,
        found,
        wish,
        fault.seconds,
        hands_over=fault.hands_over,
        dry_run=dry_run,
        backups=[one.seen if one.check == "backups" else f"{one.check}: {one.seen}" for one in protection]
        or ["none are asked for (label tiphys.dev/backups)"],
    )
    if site := site_of(kube, cluster, app_url, verify_tls=app_verify_tls):
        told = f"{told}\n{'users':<11}{require_answers(site)}"
    log("plan", group=facts.topology.summary(), node=found.node, evicts=len(found.going), dry_run=dry_run)
    return DrainPreflight(not dry_run, facts.production and not dry_run, found.node, told)
