"""Step `drill-preflight`: is a drill allowed and safe now, and what would it do? Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from steps.declare import parameter, step, target_options
from steps.drill import options
from steps.drill.faults import fault_of
from steps.log import log


@dataclass(frozen=True)
class Preflight:
    """What the guards found."""

    go: bool = parameter("Whether the drill goes on: true unless this is a dry run.")
    needs_approval: bool = parameter("Whether somebody has to approve, as the cluster is a production one.")
    primary: str = parameter("Pod of the primary: the target.")
    plan: str = parameter("What the drill does, or would do, to whom, and what was checked before.", is_global=True)


@step("drill-preflight")
@target_options
@options.workflow
@options.fault
@options.survivor
@options.allow_outage
@options.app_url
@options.app_verify_tls
@options.dry_run
def drill_preflight(
    namespace: str,
    cluster: str,
    workflow: str,
    fault: str,
    survivor: str,
    allow_outage: bool,
    app_url: str | None,
    app_verify_tls: bool,
    dry_run: bool,
) -> Preflight:
    """Check that a drill is allowed and safe, and say what it would do. The dry run ends here."""
    from steps.drill.guards import look, require_safe, told_plan
    from steps.drill.site import site_of
    from steps.drill.target import choose, require_possible
    from steps.drill.users import require_answers
    from steps.kube.client import connect
    from steps.mysql.protection import judge_protection, protection_of, read_backups

    kube = connect(namespace)
    facts, scene = look(kube, cluster, workflow, allow_outage=allow_outage)
    chosen = fault_of(fault, survivor=survivor)
    require_safe(facts, chosen)
    target = choose(scene, chosen, facts.topology)
    require_possible(scene, chosen, target)
    plan = told_plan(facts, chosen, chosen.describe(target), dry_run=dry_run)
    if chosen.outage:
        kept = kube.cluster(cluster)
        backups = judge_protection(protection_of(kept, read_backups([kept])))
        told = "; ".join(f"{one.check}: {one.seen}" for one in backups)
        plan = f"{plan} Before it, {told or 'no backups are asked for (label tiphys.dev/backups)'}."
    if site := site_of(kube, cluster, app_url, verify_tls=app_verify_tls):
        plan = f"{plan} Its users are watched: {require_answers(site)}."
    log("plan", group=facts.topology.summary(), routers=facts.routers_ready, plan=plan, dry_run=dry_run)
    return Preflight(not dry_run, facts.production and not dry_run, target.pod, plan)
