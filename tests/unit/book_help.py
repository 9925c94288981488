"""The book of drills for tests on a bare API server: on a whole platform the pack's manifests bring it."""

from __future__ import annotations

from steps.drill.book import BOOK
from steps.kube.client import Kube


def make_book(kube: Kube) -> None:
    """Make the ConfigMap, empty, where it is missing."""
    if kube.find("configmaps", BOOK) is None:
        kube.create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": BOOK}})
