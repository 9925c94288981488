"""A step declared once: its command line, its outputs, its exit codes and its lines of log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from steps.parameters import CLUSTER_NAME, OBJECT_NAME, Text, as_text

STEP = '''
from dataclasses import dataclass
from pathlib import Path
import click
from steps.declare import artifact, input_file, option, parameter, step, target_options
from steps.errors import Temporary, VerdictFail

@dataclass(frozen=True)
class Greeted:
    said_to: str = parameter("Who.", is_global=True)
    loud: bool = parameter("How.")
    letter: Path | None = artifact("What.", "letter.txt")

@step("greet")
@target_options
@option("--times", type=click.IntRange(1, 3), default=2, help="How often.")
@option("--limit", type=click.IntRange(0, 9), default=None, help="Optional.")
@option("--mood", type=click.Choice(["fine", "fail", "temporary", "crash"]), default="fine", help="How it ends.")
@input_file("--text", "text.txt", help="What to say.")
def greet(namespace: str, cluster: str, times: int, limit: int | None, mood: str, text: Path) -> Greeted:
    """Greet somebody."""
    letter = Path(text.parent / "made")
    letter.write_text(text.read_text() * times + str(limit))
    done = Greeted(cluster, True, letter)
    if mood == "fail":
        raise VerdictFail("too slow", outputs=done)
    if mood == "temporary":
        raise Temporary("not yet")
    if mood == "crash":
        raise RuntimeError("a bug")
    return done

if __name__ == "__main__":
    greet()
'''


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "greet.py").write_text(STEP)
    (folder / "text.txt").write_text("ahoy ")
    return subprocess.run(
        [sys.executable, str(folder / "greet.py"), *arguments],
        env={**os.environ, "STEP_OUTPUTS": str(folder / "out"), "STEP_INPUTS": str(folder), "TIPHYS_WORKFLOW": "wf"},
        capture_output=True,
        text=True,
        timeout=30,
    )


TARGET = ("--namespace=tiphys", "--cluster=demo")


def test_outputs_become_files_and_the_artifact_is_copied(tmp_path: Path) -> None:
    done = run(tmp_path, *TARGET)
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == {"said-to": "demo", "loud": "true", "letter.txt": "ahoy ahoy None"}


def test_an_empty_parameter_means_not_given(tmp_path: Path) -> None:
    assert run(tmp_path, *TARGET, "--limit=", "--times=").returncode == 0
    assert (tmp_path / "out/letter.txt").read_text() == "ahoy ahoy None"
    assert run(tmp_path, *TARGET, "--limit=7", "--times=1").returncode == 0
    assert (tmp_path / "out/letter.txt").read_text() == "ahoy 7"


def test_an_empty_target_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "--namespace=tiphys", "--cluster=")
    assert done.returncode == 2
    assert "--cluster" in done.stderr


@pytest.mark.parametrize(
    "arguments, code",
    [
        ([*TARGET, "--mood=fail"], 20),
        ([*TARGET, "--mood=temporary"], 75),
        ([*TARGET, "--mood=crash"], 1),
        ([*TARGET, "--times=4"], 2),
        ([*TARGET, "--mood=sideways"], 2),
        (["--namespace=tiphys"], 2),
        (["--namespace=tiphys", "--cluster={{workflow.name}}"], 2),
    ],
)
def test_exit_codes(tmp_path: Path, arguments: list[str], code: int) -> None:
    assert run(tmp_path, *arguments).returncode == code


def test_a_failed_verdict_still_writes_its_outputs(tmp_path: Path) -> None:
    told = run(tmp_path, *TARGET, "--mood=fail").stderr.splitlines()
    assert (tmp_path / "out/said-to").read_text() == "demo"
    last = json.loads(told[-2])
    assert (last["event"], last["message"], last["said-to"]) == ("failed", "too slow", "demo")


def test_logs_are_json_lines_with_the_names_of_workflow_and_step(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in run(tmp_path, *TARGET).stderr.splitlines()]
    assert [line["event"] for line in lines] == ["started", "finished"]
    assert {(line["workflow"], line["step"]) for line in lines} == {("wf", "greet")}
    assert lines[-1]["said-to"] == "demo"


@pytest.mark.parametrize("name", ["demo", "d", "a-1", "a" * 28])
def test_cluster_names_taken(name: str) -> None:
    assert CLUSTER_NAME.convert(name, None, None) == name


@pytest.mark.parametrize("name", ["", "Demo", "1a", "a-", "a" * 29, "a b", "a\n", "a;rm", "{{x}}"])
def test_cluster_names_refused(name: str) -> None:
    with pytest.raises(click.BadParameter):
        CLUSTER_NAME.convert(name, None, None)


def test_text_of_one_character_uses_the_first_class() -> None:
    assert Text("x", "a-z-", 5, first="a-z", last="0-9").convert("q", None, None) == "q"
    assert OBJECT_NAME.convert("node-1.zone", None, None) == "node-1.zone"


@pytest.mark.parametrize("value, text", [(None, ""), (True, "true"), (0.5, "0.5"), (12.0, "12"), (3, "3")])
def test_values_as_text(value: object, text: str) -> None:
    assert as_text(value) == text


def test_the_step_program_starts_without_a_client_library() -> None:
    probe = (
        "import sys; from steps.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('kubernetes', 'mysql', 'boto3', 'jinja2', 'hera') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=30).stdout
    assert "deploy-cluster" in out
    assert out.splitlines()[-1] == "[]"
