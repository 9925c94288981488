"""Step `drain-measure`: drain the node and measure what clients feel, in one process on one clock."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from steps.declare import step, target_options
from steps.drill import drain_options, options
from steps.drill.measure import Measured, saved, told_to_stop
from steps.drill.parameters import DrillParameters
from steps.errors import StepError


@step("drain-measure")
@target_options
@options.workflow
@drain_options.target
@drain_options.node
@drain_options.switchover_first
@drain_options.hold
@drain_options.eviction_seconds
@drain_options.empty_dir
@drain_options.unmanaged
@drain_options.spread
@options.max_write_downtime
@options.max_lost_writes
@options.steady
@options.settle
@options.timeout
@options.write_interval
@options.writers
@options.readers
@options.abort_no_quorum
@options.abort_no_primary
@options.abort_write_downtime
@options.app_url
@options.app_verify_tls
def drain_measure(
    namespace: str,
    cluster: str,
    workflow: str,
    target: str,
    node: str | None,
    switchover_first: bool,
    hold_seconds: float,
    eviction_seconds: int,
    empty_dir: str,
    unmanaged: str,
    spread_members: bool,
    max_write_downtime_seconds: float,
    max_lost_writes: int,
    steady_seconds: float,
    settle_seconds: float,
    timeout_seconds: float,
    write_interval_ms: int,
    writers: int,
    readers: int,
    abort_no_quorum_seconds: float,
    abort_no_primary_seconds: float,
    abort_write_downtime_seconds: float,
    app_url: str | None,
    app_verify_tls: bool,
) -> Measured:
    """Drain a member's node, give it back after a while, and measure what clients feel.

    Ends well also when the node was not drained or a limit stopped the drill: that is in the measurement, and the
    report is made from it.
    """
    from steps.drill.drain import DrainNode
    from steps.drill.drain_spread import settle
    from steps.drill.drain_survey import Wish, survey
    from steps.drill.guards import look
    from steps.drill.run import Drill
    from steps.drill.site import site_of
    from steps.kube.client import connect

    kube = connect(namespace)
    site = site_of(kube, cluster, app_url, verify_tls=app_verify_tls)
    parameters = DrillParameters(
        max_write_downtime_seconds,
        max_lost_writes,
        steady_seconds,
        settle_seconds,
        timeout_seconds,
        write_interval_ms,
        writers,
        readers,
        hold_seconds,
        abort_no_quorum_seconds=abort_no_quorum_seconds,
        abort_no_primary_seconds=abort_no_primary_seconds,
        abort_write_downtime_seconds=abort_write_downtime_seconds,
        app_url=site.url if site else "",
        app_verify_tls=app_verify_tls,
    )
    stop_reason = told_to_stop()
    facts, scene = look(kube, cluster, workflow)
    by_hand = not os.environ.get("TIPHYS_WORKFLOW")
    expires = datetime.now(UTC) + timedelta(hours=1, seconds=timeout_seconds + hold_seconds + eviction_seconds)
    wish = Wish(
        workflow,
        target,
        node or "",
        switchover_first,
        eviction_seconds,
        empty_dir == "evict",
        unmanaged == "evict",
        expires.isoformat(timespec="seconds") if by_hand else "",
    )
    found = survey(kube, cluster, facts.topology, wish)
    fault = DrainNode(found, wish)
    drill = Drill(facts, scene, fault, parameters, site=site, stop_reason=stop_reason, by_hand=by_hand)
    measurement = drill.measure()
    for of_other_faults in ("survivor", "allow_outage"):
        measurement.parameters.pop(of_other_faults, None)
    measurement.parameters |= {
        "target": target,
        "node": found.node,
        "switchover_first": switchover_first,
        "spread_members": spread_members,
    }
    # Kept before anything else is done: a step that is lost now has its measurement.
    saved(measurement)
    try:
        left = settle(
            scene,
            found.here,
            asked=spread_members,
            recovered=measurement.end == "recovered",
            stop_reason=stop_reason,
        )
        measurement.placement = [one.as_json() for one in left]
    except StepError as error:
        measurement.holes.append(f"where the members are now was not looked at: {error}")
    return saved(measurement)
