"""Which runbooks may be started from outside, and with which parameters: the one list for EventSources and Sensors.

Names, order and defaults come from the WorkflowTemplates; types and patterns from the steps' options.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any

from hera.workflows import WorkflowTemplate

import workflows
from steps.backup.retention import Rules
from steps.cli import template_options
from steps.game_day.options import NAMES_ONLY
from steps.parameters import OBJECT_NAME, Parameter, Text

INTERNAL_LABEL = "tiphys.dev/internal"
"""Label (value "true") of a WorkflowTemplate that nothing outside may start."""

TARGETS = ("cluster", "namespace", "backup")
"""What an event must name itself, though a template may have a default for people: one that does not runs nothing."""

BRAKES = frozenset({"abort-no-quorum-seconds", "abort-no-primary-seconds", "abort-write-downtime-seconds"})
"""Limits that stop a drill. To be stopped later than others is for people."""

APPLICATION = frozenset({"app-url", "app-verify-tls"})
"""Where a drill's requests go: a caller who chose could have the pods of steps ask any address that they can reach."""

WITHHELD: dict[str, frozenset[str]] = {
    # A backup of one empty schema is the newest one, too: it would be what `latest` restores and what prune keeps.
    "backup": frozenset({"include", "exclude"}),
    # Any server option at all: files that mysqld writes anywhere, logins without a password. And who may break a
    # cluster without being asked is not for those to say who may ask for it to be broken; nor whether it has backups.
    "deploy-cluster": frozenset({"mycnf", "environment", "drills", "backups"}),
    # To stop a whole cluster is for people, too.
    "failover-drill": BRAKES | APPLICATION | {"allow-outage"},
    # As of a single drill; and what an entry of its list may say besides a fault's name is narrowed below.
    "game-day": frozenset({"allow-outage"}),
    # Drops a schema, whatever is in it.
    "load-sample-data": frozenset({"replace"}),
    # Which node, and what may be lost on it, is for people: a caller has the node of a member drained, with no loss.
    "node-drain-drill": BRAKES | APPLICATION | {"node", "target", "empty-dir", "unmanaged"},
    # A caller may have the rules applied that the cluster's owner has set, and none of his own.
    "prune-backups": frozenset(Rules.names()),
    # Moves aside what is there; and what deploy-cluster withholds.
    "restore": frozenset({"replace", "mycnf", "environment", "drills", "backups"}),
    # Sets a guard aside.
    "scale-cluster": frozenset({"allow-outage"}),
    "rolling-restart": APPLICATION,
    # As deploy-cluster's mycnf. A caller may have mended what differs from what the cluster's owner has written.
    "set-config": frozenset({"settings"}),
    # That an application's writes will be refused is for people to accept.
    "set-topology": frozenset({"accept"}),
    "switch-primary": APPLICATION,
    # What has no way back (another series, a downgrade), or goes without a backup, is for people to accept.
    "upgrade-cluster": frozenset({"accept", "backup-max-age"}),
}
"""Parameters that no webhook may set, by template: they keep their defaults there. A person may set them."""

NARROWED: dict[str, dict[str, Text]] = {
    # An entry's parameters could set what the drills themselves withhold: a node, what is lost on it, an outage.
    "game-day": {"drills": NAMES_ONLY},
    # A dump's SQL runs as root, and s3://BUCKET/ may be anybody's bucket: whoever holds the token would be root.
    "restore": {"backup": Text("a backup's own name", OBJECT_NAME.alphabet, 63, OBJECT_NAME.first, OBJECT_NAME.last)},
}
"""Parameters that a webhook may set to less than a person may, by template."""


@dataclass(frozen=True)
class Runbook:
    """A WorkflowTemplate that may be started from outside.

    Attributes:
        name: of the WorkflowTemplate, and of its endpoint.
        parameters: in the order of the template's ``spec.arguments.parameters``.
    """

    name: str
    parameters: tuple[Parameter, ...]


@functools.cache
def triggerable() -> tuple[Runbook, ...]:
    """Return the runbooks that may be started from outside, by name."""
    found = []
    for module in pkgutil.iter_modules(workflows.__path__):
        build = getattr(importlib.import_module(f"workflows.{module.name}"), "build", None)
        template = build() if build else None
        if isinstance(template, WorkflowTemplate):
            manifest = template.to_dict()
            if (manifest["metadata"].get("labels") or {}).get(INTERNAL_LABEL) != "true":
                found.append(runbook_of(manifest))
    return tuple(sorted(found, key=lambda runbook: runbook.name))


def runbook_of(template: dict[str, Any]) -> Runbook:
    """Return what may be sent to a WorkflowTemplate, given as its manifest."""
    options = template_options(template)
    withheld = WITHHELD.get(template["metadata"]["name"], frozenset())
    narrowed = NARROWED.get(template["metadata"]["name"], {})
    parameters = []
    for argument in template["spec"].get("arguments", {}).get("parameters") or []:
        if argument["name"] in withheld:
            continue
        name, enum = argument["name"], tuple(argument.get("enum") or ())
        known = options.get(name) or Parameter(name, "", None, enum, "enum" if enum else "text")
        kind = known.kind if known.kind != "text" or not enum else "enum"
        known = dataclasses.replace(known, text=narrowed.get(name, known.text))
        default = None if name in TARGETS else argument.get("value")
        parameters.append(dataclasses.replace(known, default=default, enum=enum or known.enum, kind=kind))
    return Runbook(template["metadata"]["name"], tuple(parameters))
