"""Fetching what a run left in S3: its report, and the other artifacts beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tiphys.runs.api import Cluster, Object
from tiphys.runs.errors import NotFound, ToolError
from tiphys.runs.loopback import is_loopback
from tiphys.runs.nodes import nodes_of, phase_of

SECRET = "tiphys-s3"
REPORT_NAMES = ("report", "junit")
"""How the artifacts that are part of a report begin."""


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


def fetch(cluster: Cluster, workflow: Object, folder: Path) -> list[Path]:
    """Fetch a run's report into a folder; return the files.

    Raises:
        ToolError: if the run has none, or S3 does not give it.
    """
    name = workflow["metadata"]["name"]
    wanted = artifacts(workflow)
    if not wanted:
        phase = phase_of(workflow)
        hint = f"it is {phase}; see `tiphys logs {name}`"
        raise ToolError(f"run {name} has no report: {hint}")
    client, bucket = _client(cluster)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for artifact in wanted:
        path = folder / artifact.file
        try:
            client.download_file(artifact.bucket or bucket, artifact.key, str(path))
        except Exception as error:  # boto3's errors share no narrower base
            raise ToolError(
                f"S3 did not give {artifact.key}: {error}; was it deleted, or is S3 down? `tiphys status`"
            ) from error
        paths.append(path)
    return paths


def _client(cluster: Cluster) -> tuple[Any, str]:
    import boto3
    from botocore.config import Config

    try:
        secret = cluster.secret(SECRET)
    except NotFound as error:
        raise ToolError(
            f"no Secret {SECRET} in namespace {cluster.namespace}, which tells where reports are"
        ) from error
    endpoint = secret["endpoint"] if "://" in secret["endpoint"] else f"https://{secret['endpoint']}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=secret.get("region") or "us-east-1",
        aws_access_key_id=secret["accessKey"],
        aws_secret_access_key=secret["secretKey"],
        config=Config(
            s3={"addressing_style": "path"},
            connect_timeout=5,
            retries={"max_attempts": 2},
            proxies={} if is_loopback(endpoint) else None,
        ),
    )
    return client, secret.get("bucket") or "tiphys"
