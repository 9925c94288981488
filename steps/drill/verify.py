"""Step `drill-verify`: look for every acknowledged write on every member."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steps.declare import artifact, input_file, outputs_folder, parameter, step, target_options
from steps.drill import options
from steps.drill.measure import FILE as MEASUREMENT

FILE = "verification.json"


@dataclass(frozen=True)
class Verified:
    """What became of the writes."""

    missing: int = parameter("Acknowledged writes that are missing on the primary or another ONLINE member.")
    verification: Path = artifact("What each member has, and every write that is missing.", FILE)


@step("drill-verify")
@target_options
@options.keep_ledger
@input_file("--measurement", MEASUREMENT, "The measurement of drill-measure.")
def drill_verify(namespace: str, cluster: str, keep_ledger: bool, measurement: Path) -> Verified:
    """Wait until the members agree, then look for every acknowledged write on each of them."""
    from steps.drill.measurement import load
    from steps.drill.verification import save, verify
    from steps.errors import BadParameters
    from steps.kube.client import connect

    measured = load(measurement)
    if measured.cluster != cluster:
        raise BadParameters(f"{measurement} is of cluster {measured.cluster!r}, not of {cluster!r}")
    verification = verify(connect(namespace), measured, keep_ledger=keep_ledger)
    path = outputs_folder() / FILE
    save(verification, path)
    return Verified(len(verification.lost), path)
