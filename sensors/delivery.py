"""How a Sensor brings an event to the API server: how often it tries, how fast, and what it leaves where it cannot.

Argo Events does not tell one error from another: it tries again whatever the API server says, also where a run of that
name exists already, and then sends the event to the trigger's dead letter, which cannot see the error either. So the
dead letter holds what was asked for, and the step `reap` tells afterwards which run is there all the same.
"""

from __future__ import annotations

from typing import Any

from steps.undelivered import LABEL

RETRIES = {"steps": 3, "duration": "500ms", "factor": 2}
"""Modest, since a key that was used before fails for good and later events of the runbook wait meanwhile."""

LETTER_RETRIES = {"steps": 10, "duration": "1s", "factor": 2}
"""9 to 17 minutes: the API server may be away, and what is not written now nobody ever learns. An event of a Sensor
that is stopped meanwhile is not lost: it comes again."""

RATE = {"unit": "Second", "requestsPerUnit": 5}
"""Tries of one trigger: what is more waits on the bus, and nothing is dropped. The first eleven after a pause come at
once."""


def delivery(dependency: str, letter: dict[str, Any], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of a trigger that say how its event is delivered.

    Args:
        dependency: name of the Sensor's dependency.
        letter: the dead letter, see :func:`dead_letter`.
        parameters: what of the event is put into it.
    """
    return {
        "atLeastOnce": True,
        "retryStrategy": RETRIES,
        "rateLimit": RATE,
        "dlqTrigger": {
            "atLeastOnce": True,
            "retryStrategy": LETTER_RETRIES,
            "template": {
                "name": f"undelivered-{letter['data']['template']}",
                "conditions": dependency,
                "k8s": {"operation": "create", "source": {"resource": letter}, "parameters": parameters},
            },
        },
    }


def dead_letter(template: str, origin: str, **data: str) -> dict[str, Any]:
    """Return what is written where a run cannot be: a ConfigMap, which no quota or webhook of Workflows can hold up.

    Args:
        template: the WorkflowTemplate that was to run.
        origin: what the event came by.
        data: see :class:`steps.undelivered.Letter`.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"generateName": "undelivered-", "labels": {LABEL: origin}},
        "data": {"template": template, **data},
    }
