"""The S3 server as the pack sees it: a Secret with its keys, and Argo's default artifact repository."""

from __future__ import annotations

import base64
from typing import Any

import yaml

from tiphys.local.client import AlreadyExists, Kube
from tiphys.local.s3.credentials import Credentials
from tiphys.local.settings import NAMESPACE

SECRET = "tiphys-s3"
REPOSITORIES = "artifact-repositories"
"""Argo reads the repository that a namespace's workflows use from a ConfigMap of this name."""


def secret(credentials: Credentials) -> dict[str, Any]:
    """Return the Secret that steps take their S3 variables from."""
    values = {
        "accessKey": credentials.access_key,
        "secretKey": credentials.secret_key,
        "endpoint": credentials.endpoint,
        "region": credentials.region,
        "bucket": credentials.bucket,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def repositories(credentials: Credentials) -> dict[str, Any]:
    """Return the ConfigMap that names the default artifact repository, as Argo's documentation has it."""
    scheme, _, address = credentials.endpoint.partition("://")
    repository = {
        "s3": {
            "bucket": credentials.bucket,
            "endpoint": address,
            "insecure": scheme == "http",
            "region": credentials.region,
            "keyFormat": "runs/{{workflow.name}}/{{pod.name}}",
            "accessKeySecret": {"name": SECRET, "key": "accessKey"},
            "secretKeySecret": {"name": SECRET, "key": "secretKey"},
        }
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": REPOSITORIES,
            "namespace": NAMESPACE,
            "annotations": {"workflows.argoproj.io/default-artifact-repository": "default"},
        },
        "data": {"default": yaml.safe_dump(repository, sort_keys=False)},
    }


async def publish(kube: Kube, credentials: Credentials) -> None:
    """Create or refresh the Secret and the ConfigMap, and the namespace they live in."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    await _put(kube, "namespaces", namespace)
    await _put(kube, "secrets", secret(credentials))
    await _put(kube, "configmaps", repositories(credentials))


async def _put(kube: Kube, resource: str, wanted: dict[str, Any]) -> None:
    try:
        await kube.create(resource, wanted)
    except AlreadyExists:
        if "data" in wanted:
            meta = wanted["metadata"]
            await kube.patch(resource, meta["name"], {"data": wanted["data"]}, meta["namespace"])
