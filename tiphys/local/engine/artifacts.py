"""Files into and out of pods: output parameters, and artifacts between a pod's file root and S3.

The bucket's address and keys come from the Secret `tiphys-s3`. The S3 server may still be starting while the
first step ends, so every transfer is tried again for a bounded time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiphys.local.client import ApiError, Kube
from tiphys.local.engine.model import OUTPUTS, Collected, Json
from tiphys.local.settings import NAMESPACE, POD_VOLUMES

log = logging.getLogger(__name__)

SECRET = "tiphys-s3"
PATIENCE_SECONDS = 300.0
"""How long a transfer is tried again while S3 does not answer."""
FETCH_PATIENCE_SECONDS = 20.0
"""The same for an input artifact: the kubelet comes back for it."""
Tell = Callable[[str], None]
"""Called once with a sentence when a transfer has to wait for S3."""
LARGEST_PARAMETER = 256 * 1024
"""Bytes of an output parameter's file that are still read; Argo's limit for outputs in the status."""


class ArtifactError(Exception):
    """An artifact cannot be stored or fetched; the message says which and why."""


@dataclass(frozen=True)
class Store:
    """Where artifacts live, and the keys to it."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str
    bucket: str

    @classmethod
    def from_secret(cls, secret: Mapping[str, Any]) -> Store:
        """Read the Secret `tiphys-s3`.

        Raises:
            ArtifactError: a key is missing.
        """
        data = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        data |= secret.get("stringData") or {}
        try:
            endpoint = data["endpoint"]
            if "://" not in endpoint:
                endpoint = f"http://{endpoint}"
            region = data.get("region") or "us-east-1"
            return cls(endpoint, data["accessKey"], data["secretKey"], region, data["bucket"])
        except KeyError as error:
            raise ArtifactError(
                f"Secret {SECRET} has no key {error}: expected accessKey, secretKey, endpoint, bucket"
            ) from error

    def client(self) -> Any:
        """Return a boto3 client."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 2},
                connect_timeout=3,
                read_timeout=60,
                proxies={},
            ),
        )


_clients: dict[Store, Any] = {}


def _client(store: Store) -> Any:
    """Return the client of `store`; it is thread-safe and slow to make, so it is kept."""
    if store not in _clients:
        _clients[store] = store.client()
    return _clients[store]


def _keep_to_the_log(sentence: str) -> None:
    """Tell nobody else."""


async def _patiently(what: str, act: Callable[[], None], patience: float, tell: Tell) -> None:
    """Do `act` in a thread, again and again while S3 does not answer.

    Raises:
        ArtifactError: S3 refused, or did not answer in time.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    deadline, pause, told = time.monotonic() + patience, 0.2, False
    while True:
        try:
            await asyncio.to_thread(act)
            return
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status < 500 and code != "NoSuchBucket":
                raise ArtifactError(f"{what}: S3 says {code}: {error}") from error
            problem: Exception = error
        except (BotoCoreError, Boto3Error, OSError) as error:
            problem = error
        if time.monotonic() > deadline:
            raise ArtifactError(f"{what}: S3 did not answer within {patience:.0f} s: {problem}") from problem
        if not told:
            log.warning("waiting for S3", extra={"what": what, "problem": str(problem)})
            tell(f"waiting for S3, up to {patience:.0f} s: {what}: {problem}")
            told = True
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)


async def upload(
    store: Store,
    file: Path,
    bucket: str,
    key: str,
    patience: float = PATIENCE_SECONDS,
    tell: Tell = _keep_to_the_log,
) -> None:
    """Store `file` under `key`; an empty `bucket` means the store's own.

    Raises:
        ArtifactError: it could not be done.
    """
    kinds = {".html": "text/html", ".json": "application/json", ".xml": "application/xml", ".txt": "text/plain"}
    extra = {"ContentType": kinds.get(file.suffix, "application/octet-stream")}

    def act() -> None:
        _client(store).upload_file(str(file), bucket or store.bucket, key, ExtraArgs=extra)

    await _patiently(f"artifact {key}", act, patience, tell)


async def download(store: Store, file: Path, bucket: str, key: str, patience: float = PATIENCE_SECONDS) -> None:
    """Fetch `key` into `file`, whose folder is made.

    Raises:
        ArtifactError: it could not be done.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")

    def act() -> None:
        _client(store).download_file(bucket or store.bucket, key, str(part))

    await _patiently(f"artifact {key}", act, patience, _keep_to_the_log)
    os.replace(part, file)


def inside(root: Path, path: str) -> Path:
    """Return where the container's `path` lies under the pod's file root, or in its own volumes, which lie beside it.

    Raises:
        ArtifactError: it points out of both.
    """
    file, own = root / path.lstrip("/"), root.resolve()
    if not any(file.resolve().is_relative_to(folder) for folder in (own, own.with_name(POD_VOLUMES))):
        raise ArtifactError(f"{path} points out of the pod's files")
    return file


async def fetch(home: Path, item: Json, target: Path) -> None:
    """Bring one input artifact of a pod into its file root; the kubelet calls this before the first container.

    Args:
        home: the platform's folder.
        item: one entry of the pod's annotation ``tiphys.dev/input-artifacts``: a map with bucket and key.
        target: the file to write.

    Raises:
        ArtifactError: it could not be had.
    """
    async with Kube.from_home(home) as kube:
        store = await read_store(kube, NAMESPACE, FETCH_PATIENCE_SECONDS)
    await download(store, target, item.get("bucket", ""), item["key"], FETCH_PATIENCE_SECONDS)


async def read_store(
    kube: Any, namespace: str, patience: float = PATIENCE_SECONDS, tell: Tell = _keep_to_the_log
) -> Store:
    """Read the Secret with the S3 server's address and keys, waiting for it if it is not there yet.

    Raises:
        ArtifactError: it does not appear, or lacks a key.
    """
    deadline, told = time.monotonic() + patience, False
    while True:
        try:
            return Store.from_secret(await kube.get("secrets", SECRET, namespace))
        except ApiError as error:
            if time.monotonic() > deadline:
                raise ArtifactError(f"no Secret {SECRET} in namespace {namespace}: {error}") from error
            if not told:
                log.warning("waiting for S3", extra={"what": f"Secret {namespace}/{SECRET}", "problem": str(error)})
                tell(f"waiting for S3, up to {patience:.0f} s: its Secret {namespace}/{SECRET} is not there yet")
                told = True
        await asyncio.sleep(0.5)


def read_parameters(root: Path, declared: Json, succeeded: bool) -> tuple[dict[str, str], str]:
    """Read a finished pod's output parameters.

    Returns:
        Their values without the one newline at the end, and a problem if a needed one is missing although the
        pod succeeded (of a failed pod, what is there counts).
    """
    values: dict[str, str] = {}
    problem = ""
    for item in declared.get("parameters") or []:
        source = item.get("valueFrom") or {}
        if "path" not in source:
            continue
        try:
            file = inside(root, source["path"])
            if file.stat().st_size > LARGEST_PARAMETER:
                raise ArtifactError(f"it is larger than {LARGEST_PARAMETER} bytes")
            values[item["name"]] = file.read_text().removesuffix("\n")
        except (OSError, UnicodeDecodeError, ArtifactError) as error:
            if "default" not in source and succeeded and not problem:
                problem = f"output parameter '{item['name']}' could not be read from {source['path']}: {error}"
    return values, problem


async def collect(kube: Any, pod: Json, folder: Path, tell: Tell = _keep_to_the_log) -> Collected:
    """Read a finished pod's output parameters and store its artifacts.

    Args:
        kube: client of the API server.
        pod: the pod.
        folder: the pod's folder on this machine.
        tell: see `Tell`.
    """
    meta = pod["metadata"]
    declared = json.loads((meta.get("annotations") or {}).get(OUTPUTS) or "{}")
    root, succeeded = folder / "root", (pod.get("status") or {}).get("phase") == "Succeeded"
    values, problem = read_parameters(root, declared, succeeded)
    stored: list[Json] = []
    for item in declared.get("artifacts") or []:
        try:
            if await _store(kube, meta["namespace"], root, item, tell):
                stored.append(
                    {key: item[key] for key in ("name", "path", "s3", "archive", "globalName") if key in item}
                )
            elif not item.get("optional") and succeeded and not problem:
                problem = f"output artifact '{item['name']}': there is no file {item['path']}"
        except ArtifactError as error:
            log.warning(
                "artifact not stored", extra={"pod": meta["name"], "artifact": item["name"], "error": str(error)}
            )
            problem = problem or f"output artifact '{item['name']}' could not be stored: {error}"
    return Collected(values, tuple(stored), problem)


async def _store(kube: Any, namespace: str, root: Path, item: Json, tell: Tell) -> bool:
    """Store one artifact; return whether there was a file."""
    file = inside(root, item["path"])
    if file.is_dir():
        raise ArtifactError(f"{item['path']} is a folder; the local engine stores single files")
    if not file.is_file():
        return False
    place = item["s3"]
    store = await read_store(kube, namespace, tell=tell)
    await upload(store, file, place.get("bucket", ""), place["key"], tell=tell)
    return True
