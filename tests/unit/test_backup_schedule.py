"""Schedules of backups: which clusters, one run a day, what must not pass in silence, whom they wait for."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from apiserver_help import ApiServer
from engine_simulation import Play, World
from roles_help import documents, may
from s3_real import own_s3

from steps.backup import schedule
from steps.backup.catalogue import Backup, Catalogue, Verification
from steps.backup.objects import Bucket
from steps.backup.schedule import NotAllWell, day_of, own_parameters, run_for, start_for_clusters, too_old
from steps.errors import BadParameters, Temporary
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.errors import Unreachable
from steps.mysql.definition import Asked, new_cluster
from tiphys.rendering import not_honoured

CRONS = {"nightly-backup": "backup", "weekly-verify-backup": "verify-backup", "daily-prune-backups": "prune-backups"}
NOW = datetime.now(UTC)


def built(name: str) -> dict[str, Any]:
    return dict(importlib.import_module(f"workflows.{name.replace('-', '_')}").build().to_dict())


def cluster(name: str, notes: dict[str, str] | None = None, **labels: str) -> dict[str, Any]:
    made = new_cluster(name, Asked(3, 2, backups="on"))
    made["metadata"]["labels"] |= {f"tiphys.dev/{key}": value for key, value in labels.items()}
    made["metadata"]["annotations"] = notes or {}
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    running = ApiServer(tmp_path_factory.mktemp("api"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def asked(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Give the list of requests that the step sends."""
    requests: list[tuple[str, str]] = []
    real = Kube._call

    def call(self: Kube, method: str, path: str, *rest: Any, **more: Any) -> Any:
        requests.append((method, path))
        return real(self, method, path, *rest, **more)

    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    kube = client.connect("tiphys")
    for resource in ("innodbclusters", "workflows", "workflowtemplates"):
        for item in kube.all(resource):
            kube.delete(resource, item["metadata"]["name"], grace_seconds=0)
    for template in CRONS.values():
        kube.create("workflowtemplates", built(template))
    kube.create("workflows", cron_run("2026-11-20T01:30:00Z"))
    monkeypatch.setattr(Kube, "_call", call)
    return requests


@pytest.fixture
def kube(asked: list[Any], server: ApiServer) -> Iterator[Kube]:
    made = client.connect("tiphys")
    yield made
    made.close()


def cron_run(due: str) -> dict[str, Any]:
    metadata = {"name": "nightly-backup-1", "annotations": {schedule.SCHEDULED_TIME: due}}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": {"entrypoint": "x"}}


def run(template: str, hours: int = 0) -> schedule.Started:
    made = start_for_clusters.function("tiphys", "nightly-backup-1", template, hours)
    assert isinstance(made, schedule.Started)
    return made


def test_each_cluster_that_opted_in_gets_one_run_a_day(kube: Kube, asked: list[tuple[str, str]]) -> None:
    for made in (
        cluster("shop"),
        cluster("bank"),
        cluster("not-asked", backups="off"),
        cluster("scratch-1", scratch="verify-backup-x"),
    ):
        kube.create("innodbclusters", made)
    kube.create("innodbclusters", new_cluster("silent", Asked(3, 2)))
    asked.clear()
    assert run("backup") == schedule.Started(2, 2, "backup-bank-20261120 backup-shop-20261120")
    # The step is tried again, after midnight: nothing new.
    assert run("backup") == schedule.Started(2, 0, "backup-bank-20261120 backup-shop-20261120")
    assert run("prune-backups").started == run("verify-backup").started == 2
    assert [path for path in asked if not may("tiphys-schedules", *path)] == []
    made = {one["metadata"]["name"]: one for one in kube.all("workflows", "tiphys.dev/trigger=schedule")}
    assert len(made) == 6
    spec = made["prune-backups-shop-20261120"]["spec"]
    assert spec["workflowTemplateRef"] == {"name": "prune-backups"}
    assert {p["name"]: p["value"] for p in spec["arguments"]["parameters"]} == {"cluster": "shop", "dry-run": "false"}
    spec = made["verify-backup-shop-20261120"]["spec"]
    assert {p["name"]: p["value"] for p in spec["arguments"]["parameters"]} == {"cluster": "shop", "backup": "latest"}


def test_one_that_cannot_be_started_fails_loudly_and_hinders_no_other(kube: Kube) -> None:
    kube.create("innodbclusters", cluster("bank", {"tiphys.dev/backup": "exclud=x"}))
    kube.create("innodbclusters", cluster("shop", {"tiphys.dev/backup": "exclude=logs.*,tmp.* parallel=2"}))
    with pytest.raises(NotAllWell, match=r"bank: its annotation tiphys.dev/backup has 'exclud=x'") as caught:
        run("backup")
    assert caught.value.outputs == schedule.Started(2, 1, "backup-shop-20261120")
    spec = kube.get("workflows", "backup-shop-20261120")["spec"]
    assert {p["name"]: p["value"] for p in spec["arguments"]["parameters"]} == {
        "cluster": "shop",
        "exclude": "logs.*,tmp.*",
        "parallel": "2",
    }


def test_a_run_of_the_day_that_has_failed_is_told_again(kube: Kube) -> None:
    kube.create("innodbclusters", cluster("shop"))
    run("backup")
    kube.patch("workflows", "backup-shop-20261120", {"status": {"phase": "Failed"}})
    with pytest.raises(NotAllWell, match="backup-shop-20261120 has failed.*tiphys submit backup -p cluster=shop"):
        run("backup")


def test_a_run_that_a_caller_gave_the_name_of_the_day_s_run_does_not_pass_for_it(kube: Kube) -> None:
    kube.create("innodbclusters", cluster("shop"))
    taken = run_for(built("backup"), cluster("other"), "20261120")
    taken["metadata"] = {"name": "backup-shop-20261120", "labels": {"tiphys.dev/trigger": "webhook"}}
    kube.create("workflows", taken)
    with pytest.raises(NotAllWell, match="was not started.*no schedule made.*tiphys submit backup -p cluster=shop"):
        run("backup")


def test_an_api_server_that_is_away_for_a_moment_is_worth_another_try(
    kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bank", "shop"):
        kube.create("innodbclusters", cluster(name))
    real = Kube.create

    def create(self: Kube, resource: str, obj: dict[str, Any]) -> Any:
        if obj["metadata"]["name"].startswith("backup-bank"):
            raise Unreachable("gone")
        return real(self, resource, obj)

    monkeypatch.setattr(Kube, "create", create)
    with pytest.raises(Temporary) as caught:
        run("backup")
    assert caught.value.outputs.started == 1
    monkeypatch.undo()


def test_no_cluster_is_no_error(kube: Kube) -> None:
    assert run("backup") == schedule.Started(0, 0, "")


def test_a_backup_that_is_too_old_fails_the_schedule_but_after_the_start(
    kube: Kube, versitygw: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str]]
) -> None:
    kube.create("innodbclusters", cluster("shop"))
    with own_s3(tmp_path, 85) as (bucket, keys):
        for name, value in {
            "S3_ENDPOINT": keys.endpoint,
            "S3_REGION": keys.region,
            "S3_BUCKET": keys.bucket,
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        }.items():
            monkeypatch.setenv(name, value)
        asked.clear()
        assert run("backup", 30).started == 1, "the first run of a cluster need not have a backup before it"
        assert [path for path in asked if not may("tiphys-schedules", *path)] == []
        earlier = run_for(built("backup"), cluster("shop"), "20261101")
        kube.create("workflows", earlier)
        with pytest.raises(NotAllWell, match="shop: it has no good backup; expected one that is younger than 30 h"):
            run("backup", 30)
        put(bucket, "shop-1", NOW - timedelta(hours=40))
        with pytest.raises(NotAllWell, match="shop: its newest good backup is 40 h old, the limit is 30 h"):
            run("backup", 30)
        put(bucket, "shop-2", NOW - timedelta(hours=2))
        assert run("backup", 30).clusters == 1


def put(bucket: Bucket, name: str, begin: datetime) -> None:
    texts = {"name": name, "cluster": "shop", "namespace": "tiphys", "serverVersion": "9.7.4", "gtidExecuted": ""}
    document = {"format": 1, **texts, "begin": begin.isoformat(), "end": begin.isoformat(), "rows": 1, "bytes": 1}
    bucket.put(f"backups/{name}/tiphys.json", json.dumps(document).encode())


def backup(hours: float, verdict: str = "", verified_hours: float = 0) -> Backup:
    begin = NOW - timedelta(hours=hours)
    proof = Verification(verdict, NOW - timedelta(hours=verified_hours), 1, 1, "", "") if verdict else None
    return Backup("b", "shop", "tiphys", begin, begin, 1, 1, "tiphys", None, "", "", proof)


@pytest.mark.parametrize(
    ("template", "backups", "said"),
    [
        ("backup", [backup(1, "FAIL"), backup(31)], "newest good backup is 31 h old"),
        ("backup", [backup(1), backup(31, "PASS")], ""),
        ("backup", [backup(1, "FAIL")], "no good backup"),
        ("verify-backup", [backup(1), backup(90, "PASS", 29)], ""),
        (
            "verify-backup",
            [backup(1, "FAIL", 1), backup(90, "PASS", 80)],
            "verification with PASS is 3 days old",
        ),
        ("verify-backup", [backup(1, "FAIL", 1)], "no verification with PASS"),
    ],
)
def test_what_is_too_old(template: str, backups: list[Backup], said: str) -> None:
    found = too_old(Catalogue(NOW, backups), backups, template, timedelta(hours=30), first=False)
    assert said in found and bool(said) == bool(found)


def test_the_day_is_that_on_which_the_schedule_was_due() -> None:
    assert day_of(cron_run("2026-11-20T23:59:00Z")) == "20261120"
    assert day_of({"metadata": {"creationTimestamp": "2026-11-21T00:10:00Z"}}) == "20261121"


@pytest.mark.parametrize("text", ["cluster=other", "exclude", "exclude='a", "dry-run=true", "backup=x"])
def test_an_annotation_sets_no_target_and_nothing_unknown(text: str) -> None:
    for template in ("backup", "verify-backup"):
        with pytest.raises(BadParameters, match=f"its annotation tiphys.dev/{template}"):
            own_parameters(built(template), cluster("shop", {f"tiphys.dev/{template}": text}))


@pytest.mark.parametrize("name", CRONS)
def test_the_schedule_names_no_cluster_and_never_overlaps(name: str) -> None:
    made = built(name)
    spec = made["spec"]
    assert (spec["concurrencyPolicy"], spec["timezone"], spec["startingDeadlineSeconds"]) == ("Forbid", "UTC", 10800)
    assert [p["name"] for p in spec["workflowSpec"]["arguments"]["parameters"]] == ["template", "max-age-hours"]
    assert spec["workflowSpec"]["arguments"]["parameters"][0]["value"] == CRONS[name]
    assert spec["workflowSpec"]["serviceAccountName"] == "tiphys-schedules"
    assert "synchronization" not in spec["workflowSpec"], "it would hold the place that its own runs wait for"
    assert not_honoured({f"{name}.yaml": made}) == []


def test_every_account_of_a_template_exists_and_may_report_and_do_something() -> None:
    accounts = {one["metadata"]["name"] for one in documents("service-accounts.yaml")}
    bound = [one for one in documents("roles.yaml") if one["kind"] == "RoleBinding"]
    for binding in bound:
        assert {subject["name"] for subject in binding["subjects"]} <= accounts
    from tiphys.rendering import built as all_built

    for _, module, made in all_built():
        if made["kind"] in ("WorkflowTemplate", "CronWorkflow"):
            account = made["spec"].get("workflowSpec", made["spec"])["serviceAccountName"]
            assert may(account, "POST", "/apis/argoproj.io/v1alpha1/namespaces/x/workflowtaskresults"), module
            assert may(account, "GET", "/apis/mysql.oracle.com/v2/namespaces/x/innodbclusters"), module


def test_who_may_only_back_up_can_change_no_cluster() -> None:
    clusters = "/apis/mysql.oracle.com/v2/namespaces/x/innodbclusters"
    for account in ("tiphys-backups", "tiphys-schedules"):
        for method in ("POST", "PATCH", "DELETE"):
            assert not may(account, method, f"{clusters}/demo" if method != "POST" else clusters)
        assert not may(account, "POST", "/api/v1/namespaces/x/pods/demo-0/exec")
    assert not may("tiphys-schedules", "GET", "/api/v1/namespaces/x/secrets/demo-root")
    assert not may("tiphys-runbooks", "DELETE", f"{clusters}/demo")


TEMPLATES = ("backup", "restore", "prune-backups", "failover-drill", "scale-cluster", "verify-backup")


@pytest.mark.parametrize("holder", ["failover-drill", "restore", "backup"])
def test_a_scheduled_run_waits_for_what_its_cluster_is_at(holder: str) -> None:
    world = World(
        yaml.safe_dump_all([built(name) for name in TEMPLATES]),
        limits={"tiphys/ConfigMap/tiphys-settings/max-concurrent-runs": 10},
    )

    def play(manifest: dict[str, Any]) -> Play:
        return Play(world, manifest, lambda node, pod: None).go()

    more = {"restore": {"backup": "x"}, "failover-drill": {"fault": "crash"}}
    values = {"cluster": "shop", **more.get(holder, {})}
    parameters = [{"name": name, "value": value} for name, value in values.items()]
    spec = {"workflowTemplateRef": {"name": holder}, "arguments": {"parameters": parameters}}
    held = play({"kind": "Workflow", "metadata": {"name": "held"}, "spec": spec})
    assert held.phase == "Running"
    for template in ("backup", "prune-backups"):
        waiting = play(run_for(built(template), cluster("shop"), "20261120"))
        assert waiting.phase == "Pending" and "tiphys/Mutex/cluster-shop" in waiting.status["message"]
    # A verification touches only its own scratch cluster; another cluster's runs go on.
    assert play(run_for(built("verify-backup"), cluster("shop"), "20261120")).phase == "Running"
    assert play(run_for(built("backup"), cluster("bank"), "20261120")).phase == "Running"


def test_every_template_that_changes_a_cluster_holds_its_lock() -> None:
    from tiphys.rendering import built as all_built

    free = {"check-cluster", "verify-backup"}
    # Both start runs that hold the cluster's: who held it meanwhile would wait for himself.
    own = {"game-day": "game-day-{{workflow.parameters.cluster}}", "start-game-days": "start-game-days"}
    for _, _, made in all_built():
        name = made["metadata"]["name"]
        if made["kind"] == "WorkflowTemplate" and name not in free:
            # One with a lifetime holds it only in those of its templates that change something.
            steps = [each for each in made["spec"]["templates"] if "container" in each]
            holders = steps if name == "set-topology" else [made["spec"]]
            for holder in holders:
                locks = holder["synchronization"]["mutexes"]
                assert locks == [{"name": own.get(name, "cluster-{{workflow.parameters.cluster}}")}], name
