"""What the pack stands on: the versions that it was made with, the oldest that will do, and how each is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True)
class Upstream:
    """A part that others make.

    Attributes:
        name: for people.
        word: in the names of checks.
        version: that the pack was made with.
        oldest: that it needs.
        namespace: in which its own manifests put it.
        images: names that its controller's image may have.
        part_of: what labels call it.
        api: group and version of its kinds.
        kinds: that the pack uses.
        how: commands that install `version`.
    """

    name: str
    word: str
    version: str
    oldest: Version
    namespace: str
    images: tuple[str, ...]
    part_of: str
    api: str
    kinds: tuple[str, ...]
    how: tuple[str, ...]


WORKFLOWS = Upstream(
    name="Argo Workflows",
    word="workflows",
    version="v4.1.2",
    oldest=(3, 7),
    namespace="argo",
    images=("workflow-controller",),
    part_of="argo-workflows",
    api="argoproj.io/v1alpha1",
    kinds=("Workflow", "WorkflowTemplate", "CronWorkflow", "WorkflowTaskResult"),
    how=(
        "kubectl create namespace argo",
        "kubectl apply --server-side -n argo -f "
        "https://github.com/argoproj/argo-workflows/releases/download/v4.1.2/install.yaml",
    ),
)
EVENTS = Upstream(
    name="Argo Events",
    word="events",
    version="v1.9.11",
    oldest=(1, 9),
    namespace="argo-events",
    images=("argo-events",),
    part_of="argo-events",
    api="argoproj.io/v1alpha1",
    kinds=("EventBus", "EventSource", "Sensor"),
    how=(
        "kubectl create namespace argo-events",
        "kubectl apply --server-side -f "
        "https://raw.githubusercontent.com/argoproj/argo-events/v1.9.11/manifests/install.yaml",
    ),
)
MYSQL = Upstream(
    name="MySQL Operator",
    word="operator",
    version="9.1.0-2.2.2",
    oldest=(8, 4),
    namespace="mysql-operator",
    images=("community-operator", "enterprise-operator", "mysql-operator"),
    part_of="mysql-operator",
    api="mysql.oracle.com/v2",
    kinds=("InnoDBCluster", "MySQLBackup"),
    how=(
        "kubectl apply -f https://raw.githubusercontent.com/mysql/mysql-operator/9.1.0-2.2.2/deploy/deploy-crds.yaml",
        "kubectl apply -f "
        "https://raw.githubusercontent.com/mysql/mysql-operator/9.1.0-2.2.2/deploy/deploy-operator.yaml",
    ),
)
ALL = (WORKFLOWS, EVENTS, MYSQL)
KUBERNETES_OLDEST: Version = (1, 29)
"""Older ones have been without their makers' care for long; server-side apply is in all since 1.22."""
KUBERNETES = "1.36"
"""What the pack is tried on."""


def parsed(text: str) -> Version | None:
    """Return the numbers of the version at the end of an image's name, or of a version; None without any."""
    tag = text.partition("@")[0].rpartition("/")[2].rpartition(":")[2]
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", tag)
    return tuple(int(number) for number in found.groups() if number) if found else None
