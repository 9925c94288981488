"""Step `game-day-preflight`: is the list of drills right, and may they be done on this cluster now? Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from steps.declare import parameter, step, target_options
from steps.errors import Refused
from steps.game_day import options
from steps.log import log


@dataclass(frozen=True)
class GameDayPreflight:
    """What was found."""

    go: bool = parameter("Whether the game day goes on: true unless this is a dry run.")
    needs_approval: bool = parameter("Whether somebody has to approve, as the cluster is a production one.")
    plan: str = parameter("What the game day does, or would do, and what was checked before.", is_global=True)


@step("game-day-preflight")
@target_options
@options.workflow
@options.drills
@options.allow_outage
@options.dry_run
def game_day_preflight(
    namespace: str, cluster: str, workflow: str, drills: str, allow_outage: bool, dry_run: bool
) -> GameDayPreflight:
    """Check the list of drills and the cluster, and say what would be done. The dry run ends here."""
    from steps.drill.guards import ALLOWED_LABEL, ENVIRONMENT_LABEL, drills_setting, switch_text, switched_off
    from steps.game_day import plan
    from steps.game_day.steady import look
    from steps.kube.client import connect
    from steps.report.outcome import count

    entries = plan.read(drills, allow_outage=allow_outage)
    kube = connect(namespace)
    found = kube.cluster(cluster)
    labels = found["metadata"].get("labels") or {}
    missing = [name for name in sorted({one.template for one in entries}) if not kube.find("workflowtemplates", name)]
    reasons = [f"namespace {namespace} has no WorkflowTemplate {name}: apply the pack" for name in missing]
    if labels.get(ALLOWED_LABEL) != "allowed":
        reasons.append(
            f"cluster {cluster} is not open to drills (label {ALLOWED_LABEL} is {labels.get(ALLOWED_LABEL)!r}): "
            f"kubectl label innodbcluster {cluster} {ALLOWED_LABEL}=allowed"
        )
    if switched_off(setting := drills_setting(kube)):
        reasons.append(f"{switch_text(setting)}: set it to 'on'")
    seen = look(kube, cluster)
    reasons += [f"{lacking}: run check-cluster" for lacking in seen.lacking]
    if reasons:
        raise Refused.because(reasons)
    production = labels.get(ENVIRONMENT_LABEL) == "production"
    told = ", ".join(f"{number}. {one.label}" for number, one in enumerate(entries, 1))
    begin = "Dry run, nothing was changed. This game day would do" if dry_run else "This game day does"
    approval = " One approval at the start counts for every drill." if production else ""
    text = (
        f"{begin} {count(len(entries), 'drill')} on cluster {cluster}: {told}; each after the cluster is steady, "
        f"and each with its own guards.{approval} Now: {seen.told}."
    )
    log("plan", plan=text, dry_run=dry_run)
    return GameDayPreflight(not dry_run, production and not dry_run, text)
