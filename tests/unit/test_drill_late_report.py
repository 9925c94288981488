"""The report of a drill that was stopped, from what is in the bucket: any S3 server will do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from drill_story import measurement, verified
from moto.server import ThreadedMotoServer

from steps.backup.objects import Bucket
from steps.drill import measurement as measurements
from steps.drill import verification as verifications
from steps.drill.late_report import late_report
from steps.drill.measure import saved
from workflows.failover_drill import build

FOLDER = "runs/w/uid"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    yield client
    client.close()
    running.stop()


@pytest.fixture
def bucket(server: Any, request: pytest.FixtureRequest) -> Bucket:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    server.create_bucket(Bucket=name)
    return Bucket(server, name)


def put_measurement(bucket: Bucket, folder: Path) -> None:
    m = measurement(end="aborted", end_reason="the step was told to stop (SIGTERM)")
    measurements.save(m, folder / "m")
    bucket.put(f"{FOLDER}/measurement.json.gz", (folder / "m").read_bytes())


def test_a_drill_that_is_told_to_stop_keeps_its_measurement_itself(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "S3_ENDPOINT": bucket.client.meta.endpoint_url,
        "S3_BUCKET": bucket.name,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "S3_REGION": "us-east-1",
        "STEP_OUTPUTS": str(tmp_path),
    }
    stopped = measurement(end="aborted", end_reason="the step was told to stop (SIGTERM)")
    assert saved(stopped).end == "aborted" and "measurement-not-kept" in capfd.readouterr().err
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    saved(stopped)
    assert "TIPHYS_ARTIFACT_FOLDER" in capfd.readouterr().err and not bucket.keys("runs/")
    monkeypatch.setenv("TIPHYS_ARTIFACT_FOLDER", FOLDER)
    saved(measurement())
    assert not bucket.keys("runs/"), "Argo keeps that of a drill that came to its end"
    saved(stopped)
    assert late_report(bucket, FOLDER, tmp_path).verdict == "ABORTED"


def test_a_stopped_drill_s_measurement_becomes_a_report(bucket: Bucket, tmp_path: Path) -> None:
    put_measurement(bucket, tmp_path)
    made = late_report(bucket, FOLDER, tmp_path)
    assert (
        made.made
        and made.verdict == "ABORTED"
        and made.html is not None
        and made.json is not None
        and made.xml is not None
    )
    found = json.loads(made.json.read_text())
    assert found["verdict"] == "ABORTED" and found["numbers"]["lost_writes"] is None
    assert "was not verified" in found["sentence"] and "told to stop" in made.html.read_text()


def test_what_was_verified_before_the_stop_counts(bucket: Bucket, tmp_path: Path) -> None:
    put_measurement(bucket, tmp_path)
    verifications.save(verified(measurement()), tmp_path / "v")
    bucket.put(f"{FOLDER}/verification.json", (tmp_path / "v").read_bytes())
    made = late_report(bucket, FOLDER, tmp_path)
    assert made.json is not None and json.loads(made.json.read_text())["numbers"]["lost_writes"] == 0


def test_nothing_is_made_where_there_is_a_report_or_nothing_to_report(bucket: Bucket, tmp_path: Path) -> None:
    assert not late_report(bucket, FOLDER, tmp_path).made
    put_measurement(bucket, tmp_path)
    bucket.put(f"{FOLDER}/report.json", b'{"verdict": "FAIL"}')
    made = late_report(bucket, FOLDER, tmp_path)
    assert not made.made and made.verdict == "FAIL", "the exit handler must not blank what the report's step told"
    assert made.html is None and not (tmp_path / "report.html").exists()


def test_the_exit_handler_undoes_first_and_without_the_bucket() -> None:
    spec = build().to_dict()["spec"]
    templates = {each["name"]: each for each in spec["templates"]}
    (undo,), (late,) = templates[spec["onExit"]]["steps"]
    assert undo["template"] == "drill-undo" and "when" not in undo
    assert late["template"] == "drill-late-report" and late["when"] == "{{workflow.status}} != Succeeded"
    assert not any(item["name"].startswith("S3") for item in templates["drill-undo"]["container"]["env"])
    assert not templates["drill-undo"]["inputs"].get("artifacts")
