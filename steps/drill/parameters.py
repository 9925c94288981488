"""A drill's parameters as one value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DrillParameters:
    """What a drill is measured with and against; see :mod:`steps.drill.options` for the meaning of each."""

    max_write_downtime_seconds: float = 30.0
    max_lost_writes: int = 0
    steady_seconds: float = 3.0
    settle_seconds: float = 2.0
    timeout_seconds: float = 180.0
    write_interval_ms: int = 20
    writers: int = 4
    readers: int = 2
    hold_seconds: float = 30.0
    survivor: str = "primary"
    allow_outage: bool = False
    abort_no_quorum_seconds: float = 30.0
    abort_no_primary_seconds: float = 90.0
    abort_write_downtime_seconds: float = 0.0
    app_url: str = ""
    app_verify_tls: bool = True
