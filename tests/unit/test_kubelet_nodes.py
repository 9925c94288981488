"""The nodes of the platform, as the official client's typed models read them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer
from kubernetes import client, config

from steps.kube.client import connect
from tiphys.local.kubelet.nodes import node_object


def test_the_official_client_lists_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its models insist on every field that Kubernetes always fills in."""
    server = ApiServer(tmp_path)
    server.start()
    try:
        monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
        kube = connect("tiphys")
        for number in (1, 2):
            kube.create("nodes", node_object(server.settings, number, time.time()))
        config.load_kube_config(str(server.settings.kubeconfig))  # type: ignore[no-untyped-call]
        listed: list[Any] = client.CoreV1Api().list_node().items
        again = node_object(server.settings, 1, time.time())["status"]["nodeInfo"]
    finally:
        server.stop()
    assert [node.metadata.name for node in listed] == ["node-1", "node-2"]
    first, second = (node.status.node_info for node in listed)
    assert first.machine_id != second.machine_id and first.machine_id == again["machineID"]
