"""Fetching what a run left in S3: its report, and the other artifacts beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from steps.backup.objects import Bucket
from tiphys.runs.api import Cluster, Object
from tiphys.runs.errors import ToolError
from tiphys.runs.nodes import nodes_of, phase_of
from tiphys.runs.s3 import bucket_of

REPORT_NAMES = ("report", "junit")
"""How the artifacts that are part of a report begin."""
PAGE, PAGES = "report.html", "drills"
"""The page, and the folder beside it with the pages that it links to."""


@dataclass(frozen=True)
class Artifact:
    """One artifact of a run: its name, the file's name, and where it is in S3."""

    name: str
    file: str
    bucket: str | None
    key: str


def artifacts(workflow: Object) -> list[Artifact]:
    """Return the report's artifacts of a run, the newest of each file."""
    found: dict[str, Artifact] = {}
    nodes = sorted(nodes_of(workflow).values(), key=lambda node: node.get("finishedAt") or "")
    for node in nodes:
        for artifact in (node.get("outputs") or {}).get("artifacts") or []:
            place = artifact.get("s3") or {}
            file = PurePosixPath(place.get("key") or "").name
            if file.startswith(REPORT_NAMES):
                found[file] = Artifact(artifact["name"], file, place.get("bucket"), place["key"])
    return [found[file] for file in sorted(found)]


@contextmanager
def written(option: str) -> Iterator[None]:
    """Turn what the system says to the writing of a file into a sentence that names the option for another place."""
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename
        raise ToolError(
            f"{where or 'the report'} cannot be written ({error.strerror or error}); name another place by {option}"
        ) from error


def fetch(cluster: Cluster, workflow: Object, folder: Path) -> list[Path]:
    """Fetch a run's report into a folder; return the files.

    Raises:
        ToolError: if the run has none, S3 does not give it, or it cannot be written.
    """
    name = workflow["metadata"]["name"]
    wanted = artifacts(workflow)
    if not wanted:
        phase = phase_of(workflow)
        hint = f"it is {phase}; see `tiphys logs {name}`"
        raise ToolError(f"run {name} has no report: {hint}")
    paths = []
    with bucket_of(cluster) as bucket, written("--out"):
        folder.mkdir(parents=True, exist_ok=True)
        for artifact in wanted:
            path = folder / artifact.file
            try:
                bucket.client.download_file(artifact.bucket or bucket.name, artifact.key, str(path))
            except OSError:
                raise
            except Exception as error:  # boto3's errors share no narrower base
                raise ToolError(
                    f"S3 did not give {artifact.key}: {error}; was it deleted, or is S3 down? `tiphys status`"
                ) from error
            paths.append(path)
            if artifact.file == PAGE:
                paths += _beside(bucket, artifact.key, folder)
    return paths


def _beside(bucket: Bucket, page: str, folder: Path) -> list[Path]:
    """Fetch the pages that a page links to: those of a game day's drills, in a folder beside it."""
    place = f"{page.rpartition('/')[0]}/{PAGES}/"
    paths = []
    for key in sorted(bucket.keys(place)):
        path = folder / PAGES / PurePosixPath(key).name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bucket.get(key))
        paths.append(path)
    return paths
