"""Step `drill-measure`: inject the fault and measure what clients feel, in one process on one clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steps.declare import artifact, outputs_folder, parameter, step, target_options
from steps.drill import options
from steps.drill.faults import fault_of
from steps.drill.parameters import DrillParameters
from steps.errors import StepError
from steps.log import log

if TYPE_CHECKING:
    from steps.drill.measurement import Measurement

FILE = "measurement.json.gz"


@dataclass(frozen=True)
class Measured:
    """Where the measurement is."""

    end: str = parameter("How the observation ended: recovered, timeout, aborted or not-landed.")
    measurement: Path = artifact("Everything that was measured.", FILE)


@step("drill-measure")
@target_options
@options.workflow
@options.fault
@options.max_write_downtime
@options.max_lost_writes
@options.steady
@options.settle
@options.timeout
@options.write_interval
@options.writers
@options.readers
@options.hold
@options.survivor
@options.allow_outage
@options.abort_no_quorum
@options.abort_no_primary
@options.abort_write_downtime
@options.app_url
@options.app_verify_tls
def drill_measure(
    namespace: str,
    cluster: str,
    workflow: str,
    fault: str,
    max_write_downtime_seconds: float,
    max_lost_writes: int,
    steady_seconds: float,
    settle_seconds: float,
    timeout_seconds: float,
    write_interval_ms: int,
    writers: int,
    readers: int,
    hold_seconds: float,
    survivor: str,
    allow_outage: bool,
    abort_no_quorum_seconds: float,
    abort_no_primary_seconds: float,
    abort_write_downtime_seconds: float,
    app_url: str | None,
    app_verify_tls: bool,
) -> Measured:
    """Inject the fault and measure what clients feel.

    Ends well also when the fault did not land or a limit stopped the drill: that is in the measurement, and the report
    is made from it.
    """
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
        survivor,
        allow_outage,
        abort_no_quorum_seconds,
        abort_no_primary_seconds,
        abort_write_downtime_seconds,
        site.url if site else "",
        app_verify_tls,
    )
    stop_reason = told_to_stop()
    facts, scene = look(kube, cluster, workflow, allow_outage=allow_outage)
    drill = Drill(
        facts,
        scene,
        fault_of(fault, survivor=survivor),
        parameters,
        site=site,
        stop_reason=stop_reason,
        by_hand=not os.environ.get("TIPHYS_WORKFLOW"),
    )
    return saved(drill.measure())


def told_to_stop() -> Callable[[], str]:
    """Note a SIGTERM, by which Argo stops a step, instead of dying of it; return what says why to stop, or nothing.

    The drill then ends the fault, keeps what was measured, and goes.
    """
    told: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append("the step was told to stop (SIGTERM)"))
    return lambda: told[0] if told else ""


def saved(measurement: Measurement) -> Measured:
    """Write a measurement into the outputs folder."""
    from steps.drill.measurement import save

    path = outputs_folder() / FILE
    save(measurement, path)
    if measurement.end == "aborted":
        keep(path)
    return Measured(measurement.end, path)


def keep(path: Path) -> None:
    """Put the measurement of a drill that was told to stop into the bucket itself, for the late report.

    Argo tells its executor to stop in the same moment as the step: it then takes the outputs that are there, while the
    step still ends its fault (`signalContainers` in workflow/controller/pod/queue.go; seen with 4.1.2).
    """
    from steps.backup.objects import Bucket

    try:
        bucket = Bucket.from_environment(connections=1)
        try:
            bucket.put(f"{os.environ['TIPHYS_ARTIFACT_FOLDER']}/{path.name}", path.read_bytes())
        finally:
            bucket.close()
    except (StepError, KeyError, OSError) as error:
        log("measurement-not-kept", why=f"{type(error).__name__}: {error}")
