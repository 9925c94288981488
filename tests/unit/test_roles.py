"""What the steps' code asks of Kubernetes, against the Roles of those that run it: locally nothing enforces them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from roles_help import allows, documents, may, roles_of
from test_verify_scratch import NAMESPACE, bring, claim, order, workflow
from test_verify_scratch import kube as kube  # a fixture
from test_verify_scratch import server as server  # another

from steps.backup import verify_scratch
from steps.drill.reap import reap
from steps.kube.client import CLUSTER_WIDE, RESOURCES, Kube

STEPS = Path(__file__).parents[2] / "steps"
RUNBOOKS, BACKUPS, VERIFICATIONS, REAP, SCHEDULES, DRAINS, GAME_DAYS, CONFIG, UPGRADES = (
    f"tiphys-{name}"
    for name in (
        *("runbooks", "backups", "verifications", "reap", "schedules"),
        *("drains", "game-days", "config", "upgrades"),
    )
)
WHO = {
    "backup/backup.py": [BACKUPS, UPGRADES],
    "backup/find_backup.py": [RUNBOOKS],
    "backup/operator_find.py": [RUNBOOKS],
    "backup/operator_run.py": [BACKUPS],
    "backup/prune.py": [BACKUPS],
    "backup/restore.py": [RUNBOOKS, VERIFICATIONS],
    "backup/schedule.py": [SCHEDULES],
    "backup/verify_checks.py": [VERIFICATIONS],
    "backup/verify_prepare.py": [VERIFICATIONS],
    "backup/verify_report.py": [VERIFICATIONS],
    "backup/verify_scratch.py": [VERIFICATIONS, REAP],
    "check/look.py": [RUNBOOKS],
    "check/read_kube.py": [RUNBOOKS],
    "drill/book.py": [RUNBOOKS, REAP, CONFIG, UPGRADES],
    "drill/drain.py": [DRAINS],
    "drill/drain_preflight.py": [DRAINS],
    "drill/drain_spread.py": [DRAINS],
    "drill/drain_survey.py": [DRAINS],
    "drill/faults.py": [RUNBOOKS],
    "drill/freeze.py": [RUNBOOKS, REAP],
    "drill/guards.py": [RUNBOOKS, GAME_DAYS],
    "drill/intent.py": [RUNBOOKS, REAP, CONFIG, UPGRADES],
    "drill/multi_primary.py": [RUNBOOKS, REAP],
    "drill/observing.py": [RUNBOOKS, UPGRADES],
    "drill/partition.py": [RUNBOOKS, REAP],
    "drill/preflight.py": [RUNBOOKS],
    "drill/reap.py": [REAP],
    "drill/router_kill.py": [RUNBOOKS],
    "drill/run.py": [RUNBOOKS],
    "drill/sampler.py": [RUNBOOKS],
    "drill/server_signal.py": [RUNBOOKS],
    "drill/site.py": [RUNBOOKS],
    "drill/target.py": [RUNBOOKS],
    "drill/undo.py": [RUNBOOKS, REAP, CONFIG, UPGRADES],
    "drill/verification.py": [RUNBOOKS, UPGRADES],
    "game_day/children.py": [GAME_DAYS],
    "game_day/ending.py": [GAME_DAYS, REAP],
    "game_day/preflight.py": [GAME_DAYS],
    "game_day/run.py": [GAME_DAYS],
    "game_day/steady.py": [GAME_DAYS],
    "game_day/stop.py": [GAME_DAYS],
    "mysql/check_cluster.py": [RUNBOOKS],
    "mysql/connection.py": [RUNBOOKS, BACKUPS, VERIFICATIONS, REAP, GAME_DAYS, CONFIG, UPGRADES],
    "mysql/deploy_cluster.py": [RUNBOOKS],
    "mysql/inspection.py": [RUNBOOKS, GAME_DAYS, UPGRADES],
    "mysql/load_sample_data.py": [RUNBOOKS],
    "mysql/restart.py": [RUNBOOKS, CONFIG, REAP, UPGRADES],
    "mysql/router_writes.py": [RUNBOOKS],
    "mysql/rolling_restart.py": [RUNBOOKS],
    "mysql/scale_cluster.py": [RUNBOOKS],
    "mysql/set_config.py": [CONFIG],
    "mysql/set_topology.py": [RUNBOOKS],
    "mysql/settings_files.py": [CONFIG, REAP],
    "mysql/settings_roll.py": [CONFIG, REAP],
    "mysql/settings_undo.py": [CONFIG, REAP],
    "mysql/switch_primary.py": [RUNBOOKS],
    "mysql/topology.py": [RUNBOOKS, BACKUPS, VERIFICATIONS, REAP, GAME_DAYS, CONFIG, UPGRADES],
    "mysql/topology_undo.py": [RUNBOOKS, REAP],
    "mysql/upgrade_back.py": [UPGRADES, REAP],
    "mysql/upgrade_cluster.py": [UPGRADES],
    "mysql/upgrade_images.py": [UPGRADES, REAP],
    "mysql/upgrade_preflight.py": [UPGRADES],
    "mysql/upgrade_roll.py": [UPGRADES],
    "mysql/upgrade_survey.py": [UPGRADES],
    "mysql/waiting.py": [RUNBOOKS, VERIFICATIONS, GAME_DAYS, CONFIG, REAP, UPGRADES],
}
"""Who runs what a module asks of Kubernetes."""

VARIABLES = {
    ("operator_run", "PLURAL"): ["mysqlbackups"],
    ("operator_find", "PLURAL"): ["mysqlbackups"],
    ("operator_run", "resource"): ["mysqlbackups", "secrets"],
    ("verify_scratch", "resource"): ["persistentvolumeclaims", "secrets"],
}
"""What stands in place of a resource's name, by module."""

NAMES = {
    "configmaps": {"SETTINGS": "tiphys-settings", "BOOK": "tiphys-drills"},
    "workflowtemplates": {"template": "backup", "name": "failover-drill"},
}
"""Names that a Role allows alone, by what stands in the code."""

FIXED = {
    "cluster": [("GET", "innodbclusters", "x"), ("GET", "innodbclusters", "")],
    "servers": [("GET", "pods", "")],
    "routers": [("GET", "pods", "")],
    "secret": [("GET", "secrets", "x")],
    "service_address": [("GET", "services", "x")],
    "log": [("GET", "pods", "x/log")],
    "evict": [("POST", "pods", "x/eviction")],
    "execute": [("GET", "pods", "x/exec")],
}
VERBS = {"get": "GET x", "find": "GET x", "all": "GET ", "create": "POST ", "delete": "DELETE x"}
VERBS |= dict.fromkeys(("patch", "label", "annotate"), "PATCH x")


FOR_ARGO = ("tiphys-executor", "tiphys-events", "tiphys-calendar")
"""Roles of what Argo itself does."""

OLDER = [("pods/exec", "create")]
"""What older clients of Kubernetes ask for in place of what these do."""


def asked(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield method, resource and rest of the path of each request in a module."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        called, on = node.func.attr, ast.unparse(node.func.value)
        if on.rpartition(".")[2].strip("_") != "kube" and not on.startswith("client.connect("):
            continue
        if called in FIXED:
            yield from FIXED[called]
        elif called in VERBS:
            first, *others = node.args
            known = [str(first.value)] if isinstance(first, ast.Constant) else VARIABLES[file.stem, ast.unparse(first)]
            for resource in known:
                method, _, rest = VERBS[called].partition(" ")
                name = NAMES.get(resource, {}).get(ast.unparse(others[0]), "x") if others else "x"
                yield method, resource, rest and name


def path(resource: str, rest: str) -> str:
    scope = "" if resource in CLUSTER_WIDE else "/namespaces/x"
    return "/".join(filter(None, [f"{RESOURCES[resource]}{scope}/{resource}", rest]))


def test_every_module_that_asks_kubernetes_is_run_by_somebody_who_may() -> None:
    missing, seen = [], set()
    for file in sorted(STEPS.rglob("*.py")):
        module = str(file.relative_to(STEPS))
        # What is below kube/ asks for whoever calls it, for nodes among others, which no Role can give.
        for method, resource, rest in asked(file) if not module.startswith("kube/") else ():
            assert module in WHO, f"{module} asks for {resource}: say here who runs it"
            seen.add(module)
            missing += [
                f"{account} may not {method} {path(resource, rest)}, as {module} does"
                for account in WHO[module]
                if not may(account, method, path(resource, rest))
            ]
    assert missing == []
    assert len(seen) > 20, "requests are found in the code"


def test_no_role_allows_what_nobody_asks_for() -> None:
    requests = [
        (account, method, path(resource, rest))
        for module, accounts in WHO.items()
        if (STEPS / module).is_file()
        for method, resource, rest in asked(STEPS / module)
        for account in accounts
    ]
    for role in (one for one in documents("roles.yaml") if one["kind"] == "Role"):
        name = role["metadata"]["name"]
        own = [each for each in requests if role in roles_of(each[0])]
        for rule, resource, verb in ((r, x, v) for r in role["rules"] for x in r["resources"] for v in r["verbs"]):
            narrow = {**role, "rules": [{**rule, "resources": [resource], "verbs": [verb]}]}
            used = any(allows([narrow], method, url) for _, method, url in own)
            assert used or name in FOR_ARGO or (resource, verb) in OLDER, f"{name}: nobody needs {verb} {resource}"


def test_what_a_verification_and_reap_really_ask_is_allowed(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[tuple[str, str]] = []
    real = Kube._call

    def call(self: Kube, method: str, path: str, *rest: object, **more: object) -> object:
        requests.append((method, path))
        return real(self, method, path, *rest, **more)  # type: ignore[arg-type]

    def recorded(account: str) -> None:
        assert requests and [each for each in requests if not may(account, *each)] == []
        requests.clear()

    for run in ("verify-1", "verify-2"):
        workflow(kube, run)
    monkeypatch.setattr(Kube, "_call", call)
    for run in ("verify-1", "verify-2"):
        bring(kube, order(workflow=run), run)
    recorded("tiphys-verifications")
    for run in ("verify-1", "verify-2"):
        claim(kube, f"datadir-{verify_scratch.scratch_name('demo', run)}-0")
    requests.clear()
    verify_scratch.verify_remove.function(namespace=NAMESPACE, cluster="demo", workflow="verify-1")
    recorded("tiphys-verifications")
    kube.patch("workflows", "verify-2", {"status": {"phase": "Failed"}})
    requests.clear()
    assert reap.function(namespace=NAMESPACE).reaped == 1
    recorded("tiphys-reap")
