"""Input artifacts of a step pod: fetched from S3 into the pod's file root before its first container."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from tiphys.local.kubelet.launch import LaunchError
from tiphys.local.settings import Settings

ANNOTATION = "tiphys.dev/input-artifacts"
_DONE = "inputs-fetched"


async def fetch_inputs(pod: dict[str, Any], settings: Settings, folder: Path) -> None:
    """Fetch what the pod's annotation names, once.

    Raises:
        LaunchError: the annotation cannot be read, or an artifact cannot be fetched; the kubelet tries again.
    """
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
    if not text or (folder / _DONE).exists():
        return
    try:
        artifacts = json.loads(text)
    except ValueError as error:
        raise LaunchError(f"annotation {ANNOTATION} is no JSON: {error}") from error
    engine = importlib.import_module("tiphys.local.engine.artifacts")
    for item in artifacts:
        target = folder / "root" / str(item["path"]).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            await engine.fetch(settings.home, item, target)
        except Exception as error:
            where = f"s3://{item.get('bucket')}/{item.get('key')}"
            raise LaunchError(f"input artifact {where} for {item['path']}: {error}", "Init:Error") from error
    (folder / _DONE).touch()
