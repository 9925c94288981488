"""Tests against a real cluster, by `make e2e KUBECONFIG=...`: they cordon one of its nodes and evict their own pods."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from real import HOME_LABEL, NAMESPACE, CommandFailed, Object, Real, Tell, eventually

from steps.kube import cordon
from steps.kube.client import Kube, connect

KUBECONFIG = "TIPHYS_E2E_KUBECONFIG"
"""Not the plain variable: whoever works with a cluster must not drain its nodes by running tests."""
BOUND_SECONDS = 1800
FIGURES: list[dict[str, object]] = []
OPERATORS = "app.kubernetes.io/name in (mysql-operator, mysql-local-operator)"
"""Oracle's, and the stand-in of images/mysql-local."""
NODE = "TIPHYS_E2E_NODE"
"""The node to drain; a worker that takes pods where it is not set."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bound these by what a loaded cluster takes to start pods, rather than by what a unit test takes."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(BOUND_SECONDS))
    # Before `real` puts the pack's accounts there: an install starts from a cluster without them.
    items.sort(key=lambda item: item.path.name != "test_install.py")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """The cluster, with the pack's accounts and rights in it."""
    named = os.environ.get(KUBECONFIG, "")
    if not named:
        pytest.skip("no cluster was named: make e2e KUBECONFIG=/path/to/kubeconfig drains one of its nodes")
    cluster = Real(Path(named).resolve(), tmp_path_factory.mktemp("accounts"))
    there = cluster.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found").strip()
    cluster.install()
    yield cluster
    eventually("the tests' namespaces are gone", lambda: not cluster.all("namespaces", "-l", HOME_LABEL))
    if not there:
        cluster.uninstall()


def usable(node: Object) -> bool:
    """Tell whether a test's pods may run on a node."""
    conditions = node["status"]["conditions"]
    untainted = not [one for one in node["spec"].get("taints") or [] if one["effect"] != "PreferNoSchedule"]
    return untainted and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.fixture(scope="session")
def nodes(real: Real) -> list[str]:
    """The nodes that take pods; the first is the one that is drained."""
    names = [node["metadata"]["name"] for node in real.all("nodes") if usable(node)]
    first = os.environ.get(NODE) or (names[0] if names else "")
    if first not in names or len(names) < 2:
        pytest.skip(f"two nodes that take pods are needed, {first or 'one'} among them; there are: {names}")
    return [first, *(name for name in names if name != first)]


@pytest.fixture(scope="session")
def tell() -> Tell:
    """Keep a figure for the end of the log: how long pods took, and the whole drain against the slowest one."""

    def kept(what: str, ways: Sequence[Mapping[str, Any]], **more: object) -> None:
        own = {f"{way['namespace']}/{way['pod']}": way["gone_seconds"] - way["accepted_seconds"] for way in ways}
        slowest = max(own, key=lambda pod: own[pod])
        whole = max(way["gone_seconds"] for way in ways)
        figures = {
            "what": what,
            "pods": len(ways),
            "attempts": sum(way["attempts"] for way in ways),
            "whole_seconds": round(whole, 2),
            "slowest_pod": slowest,
            "slowest_pod_seconds": round(own[slowest], 2),
            "ratio": round(whole / own[slowest], 2),
        }
        FIGURES.append({**figures, **more})

    return kept


@pytest.fixture(scope="session")
def figures() -> list[dict[str, object]]:
    """What is shown at the end of the log."""
    return FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures, one JSON line each."""
    for figures in FIGURES:
        terminalreporter.write_line(json.dumps(figures))


@pytest.fixture
def run() -> str:
    """The name of this test's run, as a workflow would have one."""
    return f"e2e-{secrets.token_hex(3)}"


@pytest.fixture
def home(real: Real, nodes: list[str], run: str) -> Iterator[str]:
    """The node that is drained: the only one with this run's label. Afterwards it must be as it was."""
    node = nodes[0]
    real.kubectl("label", "node", node, f"{HOME_LABEL}={run}")
    yield node
    real.kubectl("label", "nodes", "--all", f"{HOME_LABEL}-")
    found = real.get("nodes", node)
    left = cordon.is_cordoned(found), cordon.read(found)
    real.kubectl("uncordon", node)
    real.kubectl("annotate", "node", node, f"{cordon.ANNOTATION}-")
    assert left == (False, None), "a test left its node cordoned, or with a note"


@pytest.fixture
def space(real: Real, run: str) -> Iterator[str]:
    """A namespace of this test's own."""
    real.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": run, "labels": {HOME_LABEL: run}}})
    eventually("its service account", lambda: real.all("serviceaccounts", "-n", run))
    yield run
    for pod in real.pods(run):
        if pod["metadata"].get("finalizers"):
            real.kubectl("patch", "pod", pod["metadata"]["name"], "-n", run, "-p", '{"metadata":{"finalizers":null}}')
    real.kubectl("delete", "namespace", run, "--wait=false")
    real.kubectl("delete", "pods", "--all", "-n", run, "--force", "--grace-period=0")


@pytest.fixture
def acting(real: Real, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Kube]]:
    """A client with no more rights than a service account of the pack has."""
    made: list[Kube] = []

    def connected(account: str) -> Kube:
        monkeypatch.setenv("KUBECONFIG", str(real.account(account)))
        made.append(connect(NAMESPACE))
        return made[-1]

    yield connected
    for kube in made:
        kube.close()


@pytest.fixture
def drains(acting: Callable[[str], Kube]) -> Kube:
    """What `node-drain-drill` runs as."""
    return acting("tiphys-drains")


@pytest.fixture(scope="module")
def no_operator(real: Real) -> Iterator[None]:
    """No operator at work: it would write to the tests' InnoDBClusters, and make servers of their names."""
    found = [one for one in real.all("deployments", "-A", "-l", OPERATORS) if one["spec"].get("replicas", 1)]
    for one in found:
        meta = one["metadata"]
        real.kubectl("scale", "deployment", meta["name"], "-n", meta["namespace"], "--replicas=0")
    eventually("its pods are gone", lambda: not real.all("pods", "-A", "-l", OPERATORS))
    yield
    for one in found:
        meta, replicas = one["metadata"], one["spec"].get("replicas", 1)
        real.kubectl("scale", "deployment", meta["name"], "-n", meta["namespace"], f"--replicas={replicas}")


@pytest.fixture
def cluster(real: Real, run: str, no_operator: None) -> Iterator[str]:
    """An InnoDBCluster that no operator looks after: what is noted on it is real, servers there are none."""
    meta = {"name": run, "namespace": NAMESPACE, "labels": {"tiphys.dev/drills": "allowed"}}
    spec = {"secretName": run, "instances": 3}
    try:
        real.apply({"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": meta, "spec": spec})
    except CommandFailed as error:
        pytest.skip(f"the operator's custom resources are not there: {error}")
    yield run
    real.kubectl("delete", "innodbclusters", run, "-n", NAMESPACE, "--ignore-not-found")
