"""What the pack's own containers ask a node for, so that a busy one leaves them their share. Measured: docs/install.md.

Requests of memory are the peak that was seen and 32 MiB for Argo's executor, which runs beside a step in its container.
No container has a limit of CPU: it would slow down what measures time, while the node stands idle.
"""

from __future__ import annotations

from hera.workflows.models import Quantity, ResourceRequirements

EXECUTOR_MIB = 32


def _size(cpu: str, memory: str, limit: str) -> ResourceRequirements:
    def quantities(**values: str) -> dict[str, Quantity]:
        return {name: Quantity(root=value) for name, value in values.items()}

    return ResourceRequirements(requests=quantities(cpu=cpu, memory=memory), limits=quantities(memory=limit))


STEP = _size("50m", "128Mi", "512Mi")
"""A step that asks, waits and writes: 75 MiB at most were seen."""

ATTEMPT_BYTES = 1200
"""What a step that looks for lost writes needs for each attempt that clients made (measured with 240 000 of them)."""

MEASURING = _size("250m", "192Mi", "2Gi")
"""A step whose clients measure outages: where it gets no processor its own pauses look like the servers'. It keeps
every attempt; an hour of a drill's usual clients makes a million."""

READING = _size("50m", "128Mi", "2Gi")
"""A step that reads what was measured: small for most drills, and as large as the measuring one for a long one. Or all
runs of the namespace, of which nobody says how many there are."""

RUN_KIB = 380
"""What reap needs for each run: the Workflow as it is read, and as it was sent (a drill's; measured)."""

MOVING = _size("250m", "320Mi", "2Gi")
"""A step that moves rows. A backup takes its parameter `memory`, 256 MiB unless told otherwise; 32 connections, the
most there are, can use no more than 1812 MiB (:mod:`steps.backup.budget`)."""

EVENTS = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
"""A pod of an EventSource or a Sensor."""
