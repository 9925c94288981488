"""The calendar: when what is done regularly and has no cluster of its own begins.

Backups and checks are CronWorkflows, which start one template and nothing else. A game day comes through a Sensor,
so that what starts it (this calendar, a webhook, a release) can be changed without touching what it does.
"""

from __future__ import annotations

from typing import Any

from workflows.security import events_pod

NAME = "calendar"
WEEKLY_GAME_DAY = "weekly-game-day"
LAST_EVENTS = "tiphys-calendar"
"""ConfigMap that keeps when each event came last, so that one that fell into an outage is given afterwards."""


def build() -> dict[str, Any]:
    """Return the EventSource: a game day each Wednesday morning, when people are there to learn from it."""
    persistence = {
        # Chaos that comes hours late meets people who do not expect it any more.
        "catchup": {"enabled": True, "maxDuration": "1h"},
        "configMap": {"name": LAST_EVENTS},
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "EventSource",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/part-of": "tiphys"}},
        "spec": {
            "template": events_pod("tiphys-calendar"),
            "calendar": {
                WEEKLY_GAME_DAY: {"schedule": "0 10 * * 3", "timezone": "UTC", "persistence": persistence},
            },
        },
    }
