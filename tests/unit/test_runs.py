"""The tool's commands for runs, as people call them, against the real API server and gateway.

No engine runs here: what a run's status says is written by the tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from gateway_help import DRILL, create, in_kube, objects, running_gateway, secret, template, workflows
from platform_help import new_home, running

from steps.drill.faults import FAULTS
from tiphys.cli import cli
from tiphys.local.client import Kube
from tiphys.local.platform.access import write_kubeconfig
from tiphys.local.settings import Settings
from tiphys.runs import reports

REAL_DRILL = Path(__file__).parents[2] / "manifests/base/workflows/failover-drill.yaml"
STARTED, ENDED = "2026-11-21T12:00:00Z", "2026-11-21T12:01:05Z"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = new_home(tmp_path_factory.mktemp("home"))
    with running("tiphys.local.apiserver", settings):
        create(settings.home, objects())
        create(settings.home, {"workflowtemplates": [yaml.safe_load(REAL_DRILL.read_text())]})
        write_kubeconfig(settings)
        yield settings


def call(platform: Settings, *words: str, kubeconfig: str = "") -> Done:
    """Run the tool in this process (a process of its own takes most of a second)."""
    environment = {"TIPHYS_HOME": str(platform.home), "KUBECONFIG": kubeconfig}
    result = CliRunner().invoke(cli, words, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def node(name: str, kind: str = "Pod", phase: str = "Succeeded", parent: str = "", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "displayName": name,
        "type": kind,
        "phase": phase,
        "templateName": "run",
        "startedAt": STARTED,
        **({"boundaryID": parent} if parent else {}),
        **({"finishedAt": ENDED} if phase in ("Succeeded", "Failed", "Error") else {}),
        **more,
    }


def put_run(platform: Settings, name: str, phase: str, nodes: list[dict[str, Any]], **status: Any) -> None:
    """Create a Workflow with a status, or change it."""
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": "tiphys"},
        "spec": {"workflowTemplateRef": {"name": DRILL.name}},
    }
    finished = {"finishedAt": ENDED} if phase in ("Succeeded", "Failed", "Error") else {}
    by_id = {one["id"]: one for one in nodes}
    full = {"status": {"phase": phase, "startedAt": STARTED, **finished, "nodes": by_id, **status}}

    async def make(kube: Kube) -> None:
        if name not in [one["metadata"]["name"] for one in await kube.list("workflows", "tiphys")]:
            await kube.create("workflows", body)
        await kube.patch("workflows", name, full, "tiphys")

    in_kube(platform.home, make)


def test_submit_creates_a_workflow_and_prints_it_alone(platform: Settings) -> None:
    done = call(platform, "submit", "test-drill", "-p", "cluster=demo", "-p", "note=a=b", "-o", "json")
    made = json.loads(done.stdout)
    assert done.returncode == 0 and made["spec"]["workflowTemplateRef"] == {"name": "test-drill"}
    assert made["spec"]["arguments"]["parameters"] == [
        {"name": "cluster", "value": "demo"},
        {"name": "note", "value": "a=b"},
    ]
    assert made["metadata"]["name"] in workflows(platform.home)
    named = call(platform, "submit", "test-drill", "-p", "cluster=demo", "--name", "mine", "-o", "name")
    assert named.stdout == "mine\n"
    again = call(platform, "submit", "test-drill", "-p", "cluster=demo", "--name", "mine")
    assert again.returncode == 1 and "already exists" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["test-dril", "-p", "cluster=demo"], "did you mean test-drill?"),
        (["test-drill"], "cluster is missing and has no default; add -p cluster=..."),
        (["test-drill", "-p", "clutser=demo"], "no parameter 'clutser' (did you mean cluster?)"),
        (["test-drill", "-p", "cluster=demo", "-p", "fault=crahs"], "fault=crahs is not one of: crash"),
        (["test-drill", "-p", "cluster={{workflow.name}}"], "which Argo would expand"),
        (["test-drill", "-p", "cluster"], "expected NAME=VALUE"),
        (["test-drill", "-p", "cluster=a", "-p", "cluster=b"], "given twice"),
        (["test-drill", "-p", "cluster=demo", "--name", "No_name"], "is no name for a run"),
    ],
)
@pytest.mark.parametrize("command", ["submit", "trigger"])
def test_parameters_are_checked_before_anything_is_made(
    platform: Settings, command: str, words: list[str], said: str
) -> None:
    if command == "trigger" and "--name" in words:
        pytest.skip("trigger names a run by its key")
    before = set(workflows(platform.home))
    done = call(platform, command, *words)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    assert set(workflows(platform.home)) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], f"add -p fault={'|'.join(FAULTS)} (What happens"),
        (["cluster="], "cluster= must not be empty: at most 28 characters"),
        (["cluster=No_name"], "cluster=No_name is not a cluster's name"),
        (["writers=0"], "writers=0 is not an integer from 1 to 32"),
        (["writers=four"], "writers=four is not an integer from 1 to 32"),
        (["max-write-downtime-seconds="], "must not be empty"),
        (["dry-run=yes"], "dry-run=yes is not one of: true, false"),
    ],
)
@pytest.mark.parametrize("command", [["submit"], ["submit", "--dry-run"], ["trigger"]])
def test_values_are_checked_as_the_steps_would(
    platform: Settings, command: list[str], words: list[str], said: str
) -> None:
    pairs = [part for word in words for part in ("-p", word)]
    done = call(platform, *command, "failover-drill", *pairs)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1


def test_templates_tell_what_there_is_and_what_each_takes(platform: Settings) -> None:
    listed = call(platform, "templates").stdout.splitlines()
    assert listed[0].split() == ["NAME", "ABOUT"]
    assert [line.split()[0] for line in listed[1:] if line[0] != " "] == ["failover-drill", "test-drill"]
    about = "Hits the primary and measures what clients feel"
    assert about in " ".join(" ".join(listed).split()) and max(map(len, listed)) <= 80
    page = call(platform, "templates", "failover-drill").stdout
    assert f"fault[required;{'|'.join(FAULTS)}]Whathappens" in "".join(page.split())
    assert "  writers  [default 4; an integer from 1 to 32]\n" in page
    assert page.endswith("Run it: tiphys submit failover-drill -p cluster=... -p fault=... --wait\n")
    as_json = json.loads(call(platform, "templates", "failover-drill", "-o", "json").stdout)
    assert as_json[0]["name"] == "cluster" and as_json[0]["default"] is None
    assert "did you mean failover-drill?" in call(platform, "templates", "failover-dril").stderr


def test_a_template_is_no_command_but_can_be_run(platform: Settings) -> None:
    assert "restore is a template; run it: tiphys submit restore -p ..." in call(platform, "restore").stderr
    assert "did you mean backups?" in call(platform, "backps").stderr


def test_runs_are_listed_newest_first(platform: Settings) -> None:
    outputs = {"parameters": [{"name": "verdict", "value": "PASS"}]}
    put_run(platform, "listed", "Succeeded", [], outputs=outputs)
    lines = call(platform, "runs", "--limit", "200").stdout.splitlines()
    row = next(line for line in lines if line.startswith("listed "))
    assert lines[0].split() == ["NAME", "TEMPLATE", "PHASE", "AGE", "TOOK", "VERDICT"]
    name, template_name, phase, age, took, verdict = row.split()
    assert (name, template_name, phase, took, verdict) == ("listed", "test-drill", "Succeeded", "1m05s", "PASS")
    assert age.endswith("s") and not any(line.endswith(" ") for line in lines)
    assert len(call(platform, "runs", "--limit", "1", "-o", "name").stdout.splitlines()) == 1
    assert {"name": "listed", "verdict": "PASS"}.items() <= {
        one["name"]: one for one in json.loads(call(platform, "runs", "--limit", "200", "-o", "json").stdout)
    }["listed"].items()


def test_what_a_schedule_runs_can_be_run_now(platform: Settings) -> None:
    spec = {
        "entrypoint": "go",
        "arguments": {"parameters": [{"name": "age", "value": "5"}]},
        "templates": [{"name": "go", "container": {"image": "localhost/host:1", "command": ["true"]}}],
    }
    meta = {"name": "sweep", "namespace": "tiphys"}
    cron = {"apiVersion": "argoproj.io/v1alpha1", "kind": "CronWorkflow", "metadata": meta}
    create(platform.home, {"cronworkflows": [{**cron, "spec": {"schedules": ["0 0 1 1 *"], "workflowSpec": spec}}]})
    for words in (("sweep",), ("cronwf/sweep", "-p", "age=7")):
        done = call(platform, "submit", *words, "-o", "name")
        assert done.returncode == 0 and done.stdout.startswith("sweep-"), done.stderr
        made = workflows(platform.home)[done.stdout.strip()]
        assert made["metadata"]["labels"]["workflows.argoproj.io/cron-workflow"] == "sweep"
        age = "7" if len(words) > 1 else "5"
        assert made["spec"] == {**spec, "arguments": {"parameters": [{"name": "age", "value": age}]}}
    assert "has no parameter 'agee'" in call(platform, "submit", "sweep", "-p", "agee=7").stderr
    assert "expected the name of a template, or cronwf/NAME" in call(platform, "submit", "x/sweep").stderr
    assert "has no template sweeep" in call(platform, "submit", "sweeep").stderr


def test_the_help_of_a_dry_run_promises_no_more_than_it_does(platform: Settings) -> None:
    said = " ".join(call(platform, "submit", "--help").stdout.split())
    assert "Check the parameters only, start nothing." in said and "-p dry-run=true" in said


def test_a_template_for_schedules_only_is_not_offered(platform: Settings) -> None:
    meta = {"name": "start-nothing", "namespace": "tiphys", "labels": {"tiphys.dev/internal": "true"}}
    spec = {"templates": [{"name": "go", "container": {"image": "localhost/host:1", "command": ["true"]}}]}
    create(
        platform.home,
        {
            "workflowtemplates": [
                {"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTemplate", "metadata": meta, "spec": spec}
            ]
        },
    )
    done = call(platform, "templates", "nope")
    assert "has no template nope; it has:" in done.stderr and "failover-drill" in done.stderr
    assert "start-nothing" not in done.stderr and "start-nothing" not in call(platform, "templates").stdout


def test_a_template_must_be_named(platform: Settings) -> None:
    for command in ("submit", "trigger"):
        done = call(platform, command)
        assert done.returncode == 1 and "`tiphys templates`" in done.stderr and "failover-drill" in done.stderr


def test_a_dry_run_makes_nothing(platform: Settings) -> None:
    before = set(workflows(platform.home))
    done = call(platform, "submit", "test-drill", "-p", "cluster=demo", "--dry-run")
    assert done.returncode == 0 and "nothing was started" in done.stdout
    lines = done.stdout.splitlines()[1:]
    assert lines[:4] == ["  cluster=demo", "  fault=crash", "  max-lost-writes=0", "  budget=30"]
    assert set(workflows(platform.home)) == before


def test_trigger_goes_through_the_webhook_with_a_key(platform: Settings) -> None:
    with running_gateway(platform):
        words = ("trigger", "test-drill", "-p", "cluster=demo", "--key", "k1")
        first, second = call(platform, *words), call(platform, *words)
        assert first.stdout.startswith("test-drill-k1 started"), first.stderr
        assert second.stdout.startswith("test-drill-k1 was there already")
        other = call(platform, *words, "-p", "fault=switchover")
        assert other.returncode == 1 and "(409)" in other.stderr and "Idempotency-Key" in other.stderr
        shown = call(platform, "trigger", "test-drill", "-p", "cluster=demo", "-o", "json")
        labels = json.loads(shown.stdout)["metadata"]["labels"]
        assert labels["tiphys.dev/trigger"] == "webhook"
        assert call(platform, *words[:4], "--key", "Not_a_key").returncode == 1


def test_a_proxy_is_not_asked_for_this_machine(platform: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with running_gateway(platform):
        posted = call(platform, "trigger", "test-drill", "-p", "cluster=demo", "--key", "past-the-proxy")
    assert posted.stdout.startswith("test-drill-past-the-proxy started"), posted.stderr


def test_wait_shows_each_change_and_the_outputs(platform: Settings) -> None:
    outputs = {"parameters": [{"name": "lost-writes", "value": "0"}, {"name": "verdict", "value": "PASS"}]}
    nodes = [
        node("good", "Steps"),
        node("group", "StepGroup", parent="good"),
        node("drill", "Steps", parent="good"),
        node("measure", parent="drill"),
    ]
    put_run(platform, "good", "Succeeded", nodes, outputs=outputs)
    done = call(platform, "wait", "good")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["verdict      PASS", "lost-writes  0"]
    ended = f"{datetime.fromisoformat(ENDED).astimezone():%H:%M:%S}"
    assert f"{ended} measure Succeeded after 1m05s" in done.stderr and "group" not in done.stderr
    order = [line.split()[1] for line in done.stderr.splitlines()]
    assert order == ["measure", "drill", "good"], "what consists of steps ends after them"
    whole = json.loads(call(platform, "wait", "good", "-o", "json").stdout)
    assert whole["status"]["outputs"] == outputs


def test_a_run_that_fails_is_exit_1_and_says_why(platform: Settings) -> None:
    nodes = [
        node("bad", "Steps", "Failed"),
        node("measure", "Retry", "Failed", "bad", children=["measure(0)", "measure(1)"]),
        node("measure(0)", phase="Failed", parent="bad", message="exit code 75"),
        node("measure(1)", phase="Failed", parent="bad", message="exit code 20"),
    ]
    put_run(platform, "bad", "Failed", nodes)
    done = call(platform, "wait", "bad")
    assert done.returncode == 1
    assert done.stderr.count("exit code 20") == 1 and "bad Failed after 1m05s: measure failed" in done.stderr
    assert "measure(0)" not in done.stderr
    assert done.stderr.endswith("bad did not succeed; see `tiphys logs bad`\n")
    nodes.append(node("late", outputs={"artifacts": [{"name": "report", "s3": {"key": "runs/bad/report.html"}}]}))
    put_run(platform, "bad", "Failed", nodes)
    assert "see `tiphys report bad` and `tiphys logs bad`" in call(platform, "wait", "bad").stderr


def test_wait_follows_a_run_to_its_end(platform: Settings) -> None:
    put_run(platform, "going", "Running", [node("going", "Steps", "Running"), node("one", "Pod", "Running", "going")])
    command = [sys.executable, "-m", "tiphys.cli", "--home", str(platform.home), "wait", "going", "--timeout", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = [process.stderr.readline(), process.stderr.readline()]
        assert "going Running" in seen[0] and "one Running" in seen[1]
        put_run(platform, "going", "Succeeded", [node("going", "Steps"), node("one", parent="going")])
        assert process.wait(30) == 0
        assert "one Succeeded after 1m05s" in process.stderr.read()


def test_an_interrupted_wait_says_what_goes_on(platform: Settings) -> None:
    put_run(platform, "left-alone", "Running", [])
    command = [sys.executable, "-m", "tiphys.cli", "--home", str(platform.home), "wait", "left-alone"]
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        assert "left-alone Running" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert rest == "left-alone goes on; `tiphys wait left-alone` follows it again, `tiphys stop left-alone` ends it\n"


def test_wait_gives_up_in_time_or_where_nothing_is(platform: Settings) -> None:
    put_run(platform, "endless", "Running", [])
    late = call(platform, "wait", "endless", "--timeout", "0.5")
    assert late.returncode == 1 and "has not ended within 0.5 s (it is Running)" in late.stderr
    assert "`tiphys wait endless`" in late.stderr and "`tiphys stop endless`" in late.stderr
    nothing = call(platform, "wait", "nothing-there")
    assert nothing.returncode == 1 and "no run nothing-there" in nothing.stderr and "the newest are" in nothing.stderr


@pytest.mark.parametrize("command", ["wait", "logs", "report", "stop", "terminate", "resume", "templates", "submit"])
def test_the_name_of_an_unset_variable_means_no_run_rather_than_all(platform: Settings, command: str) -> None:
    for name in ("", "a/../b"):
        done = call(platform, command, name)
        said = (f"{name!r} is no name of a", f"{name!r}: expected the name of a template")
        assert done.returncode == 1 and done.stderr.startswith(tuple(f"Error: {each}" for each in said))
    elsewhere = call(platform, command, "x", "-n", "../kube-system")
    assert elsewhere.returncode == 1 and "'../kube-system' is no name of a namespace" in elsewhere.stderr


def test_a_report_that_is_not_there_says_so(platform: Settings) -> None:
    put_run(platform, "no-report", "Failed", [])
    done = call(platform, "report", "no-report")
    assert done.returncode == 1 and "has no report: it is Failed; see `tiphys logs no-report`" in done.stderr


def test_a_report_that_cannot_be_written_is_a_sentence(
    platform: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = node("written", outputs={"artifacts": [{"name": "report", "s3": {"key": "runs/written/report.html"}}]})
    put_run(platform, "written", "Succeeded", [page])
    monkeypatch.setattr(reports, "bucket_of", lambda _: nullcontext())
    done = call(platform, "report", "written", "--out", "/proc/nowhere")
    assert done.returncode == 1 and "/proc/nowhere cannot be written" in done.stderr and "by --out" in done.stderr

    (tmp_path / "report.html").write_text("the page")
    monkeypatch.setattr(reports, "fetch", lambda *_: [tmp_path / "report.html"])
    done = call(platform, "report", "written", "--html", "/proc/nowhere.html")
    assert done.returncode == 1 and "/proc/nowhere.html cannot be written" in done.stderr and "by --html" in done.stderr


def test_logs_of_a_pod_that_is_gone_say_so(platform: Settings) -> None:
    put_run(platform, "old", "Succeeded", [node("old-1", parent="old"), node("old", "Steps")])
    done = call(platform, "logs", "old")
    assert done.returncode == 0 and "its pod old-run-1 is gone" in done.stdout
    wrong = call(platform, "logs", "old", "--step", "mesure")
    assert wrong.returncode == 1 and "no step mesure in this run; it has: old-1" in wrong.stderr


def test_a_home_that_is_typed_wins_over_the_environment(platform: Settings, tmp_path: Path) -> None:
    there = call(platform, "--home", str(platform.home), "wait", "x", kubeconfig="/nowhere")
    assert "no run x in namespace tiphys" in there.stderr
    empty = call(platform, "--home", str(tmp_path), "wait", "x", kubeconfig=str(platform.kubeconfig))
    assert empty.stderr.startswith(f"Error: there is no kubeconfig {tmp_path}/kubeconfig; start a platform with")
    other = call(platform, "--home", str(tmp_path), "wait", "x", "--kubeconfig", str(platform.kubeconfig))
    assert "no run x" in other.stderr, "--kubeconfig says it more exactly"


def test_a_cluster_of_the_environment_that_does_not_answer_is_told_as_such(platform: Settings, tmp_path: Path) -> None:
    silent = tmp_path / "config"
    silent.write_text(platform.kubeconfig.read_text().replace(platform.api_host, "127.0.0.1"))
    done = call(platform, "wait", "x", kubeconfig=str(silent))
    assert f"does not answer; its kubeconfig is {silent}: $KUBECONFIG names it; `unset KUBECONFIG`" in done.stderr
    done = call(platform, "wait", "x", "--kubeconfig", str(silent))
    assert f"does not answer; is {silent} the right one?" in done.stderr


def test_no_cluster_is_one_line(platform: Settings) -> None:
    missing = call(platform, "wait", "x", kubeconfig="/nowhere")
    assert missing.returncode == 1
    assert missing.stderr.startswith("Error: there is no kubeconfig /nowhere; $KUBECONFIG names it; `unset KUBECONFIG`")
    typed = call(platform, "wait", "x", "--kubeconfig", "/nowhere", kubeconfig="/elsewhere")
    assert typed.stderr.startswith("Error: there is no kubeconfig /nowhere; start a platform with `tiphys up`")
    for number, text in enumerate(("", "just text", "[1, 2]", "a: {")):
        file = platform.home / f"kubeconfig-{number}"
        file.write_text(text)
        useless = call(platform, "wait", "x", kubeconfig=str(file))
        assert useless.returncode == 1 and f"the kubeconfig {file} is of no use" in useless.stderr, text
    both = call(platform, "wait", "x", kubeconfig=f"{platform.home / 'absent'}:{platform.kubeconfig}")
    assert "no run x" in both.stderr


def test_the_results_tell_that_the_reports_place_is_a_key(platform: Settings) -> None:
    outputs = {"parameters": [{"name": "report", "value": "runs/a/report.html"}, {"name": "verdict", "value": "PASS"}]}
    put_run(platform, "keyed", "Succeeded", [], outputs=outputs)
    assert call(platform, "wait", "keyed").stdout.splitlines() == [
        "verdict          PASS",
        "report (S3 key)  runs/a/report.html",
    ]


@pytest.mark.usefixtures("versitygw")
def test_the_report_comes_from_s3(platform: Settings) -> None:
    import asyncio

    import boto3

    from tiphys.local.s3.credentials import load_or_make
    from tiphys.local.s3.state import wait_until_ready

    with running_s3(platform):
        assert asyncio.run(wait_until_ready(platform.home, 60)).phase == "ready"
        keys = load_or_make(platform)
        client = boto3.client(
            "s3",
            endpoint_url=keys.endpoint,
            region_name=keys.region,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
        )
        files = {"report.html": b"<h1>good</h1>", "report.json": b'{"verdict": "PASS"}', "measurement.json": b"{}"}
        made = []
        for file, body in files.items():
            client.put_object(Bucket=keys.bucket, Key=f"runs/reported/{file}", Body=body)
            made.append({"name": file.replace(".", "-"), "s3": {"key": f"runs/reported/{file}"}})
        known = {"parameters": [{"name": "report", "value": "runs/reported/report.html"}]}
        put_run(platform, "reported", "Succeeded", [node("r", outputs={"artifacts": made})], outputs=known)
        out = platform.home / "out"
        done = call(platform, "report", "reported", "--out", str(out))
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [str(out / "report.html"), str(out / "report.json")]
        assert (out / "report.html").read_bytes() == files["report.html"]
        as_json = call(platform, "report", "reported", "--out", str(out), "--json")
        assert json.loads(as_json.stdout) == {"verdict": "PASS"}
        page = platform.home / "page.html"
        call(platform, "report", "reported", "--out", str(out), "--html", str(page))
        assert page.read_bytes() == files["report.html"]


class running_s3:
    def __init__(self, settings: Settings):
        self.settings = settings

    def __enter__(self) -> None:
        command = [sys.executable, "-m", "tiphys.local.s3", "--home", str(self.settings.home)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)


def test_the_objects_of_these_tests_are_whole() -> None:
    assert template(DRILL)["spec"]["arguments"]["parameters"][0] == {"name": "cluster"}
    assert secret()["data"]["token"]
