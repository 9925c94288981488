"""What an install makes of a person's own values: the webhook's token, the keys of S3, and where Argo puts artifacts.

No value of it is ever printed, or taken from the command line, where other people of the machine can read it.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from steps.backup.s3_settings import SECRET as S3_SECRET
from steps.backup.s3_settings import Settings
from steps.errors import BadParameters
from tiphys.install import applyset
from tiphys.install.kube import Kube, shown
from tiphys.install.plan import GIVEN
from tiphys.rendering import as_yaml
from tiphys.runs.errors import ToolError
from tiphys.runs.s3 import TIMEOUT_SECONDS

Object = dict[str, Any]

WEBHOOK = "tiphys-webhook"
GITHUB = "tiphys-github"
REPOSITORIES = "artifact-repositories"
TOKEN_BYTES = 32
AWS = "s3.amazonaws.com"
KEYS_HELP = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use --s3-keys stdin or --s3-keys none"


@dataclass(frozen=True)
class S3:
    """Where reports and backups are kept, as a person gave it.

    Attributes:
        bucket: its name.
        endpoint: URL; "" for AWS.
        region: "" where the client finds it.
        access_key: "" where the steps have a workload identity.
        secret_key: its secret half.
        token: of temporary keys.
        ca: PEM certificates that sign the server's; "" for public ones.
    """

    bucket: str
    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)

    def settings(self) -> Settings:
        """Return the settings that a step would have of it.

        Raises:
            ToolError: one of the values cannot be right.
        """
        environment = {
            "S3_BUCKET": self.bucket,
            "S3_ENDPOINT": self.endpoint,
            "S3_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.token,
            "S3_CA_BUNDLE": self.ca,
            "S3_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        }
        try:
            return Settings.read(environment)
        except BadParameters as error:
            raise ToolError(str(error)) from error

    def data(self) -> dict[str, str]:
        """Return the keys of the Secret; those that are empty are left out."""
        named = {
            "bucket": self.bucket,
            "endpoint": self.endpoint,
            "region": self.region,
            "accessKey": self.access_key,
            "secretKey": self.secret_key,
            "sessionToken": self.token,
            "caBundle": self.ca,
        }
        return {key: value for key, value in named.items() if value}

    @property
    def port(self) -> int:
        """Return the port of the server."""
        url = urlsplit(self.endpoint or f"https://{AWS}")
        return url.port or (80 if url.scheme == "http" else 443)


def keys(source: str, environment: Mapping[str, str], stdin: str) -> dict[str, str]:
    """Return the keys of S3.

    Args:
        source: ``env``, ``stdin`` (two lines, or three with a session token) or ``none``.
        environment: of the process.
        stdin: what stands there.

    Raises:
        ToolError: they are not there.
    """
    if source == "none":
        return {}
    if source == "stdin":
        found = stdin.split()
        if len(found) not in (2, 3):
            raise ToolError(
                f"stdin has {len(found)} words; expected the access key, the secret key, and the session token if "
                "there is one, each on its own line"
            )
    else:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        found = [value for name in names if (value := environment.get(name, ""))]
        if not all(environment.get(name) for name in names[:2]):
            raise ToolError(f"there are no keys for S3 in the environment: {KEYS_HELP}")
    return dict(zip(("access_key", "secret_key", "token"), found, strict=False))


def _secret(name: str, data: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "tiphys"}, "annotations": {GIVEN: "true"}},
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def webhook_secret() -> Object:
    """Return the Secret with a new bearer token."""
    return _secret(WEBHOOK, {"token": secrets.token_urlsafe(TOKEN_BYTES)})


def github_secret() -> Object:
    """Return the Secret with what GitHub is to sign its deliveries with."""
    return _secret(GITHUB, {"secret": secrets.token_urlsafe(TOKEN_BYTES)})


def s3_objects(s3: S3) -> list[Object]:
    """Return the Secret for the steps, and what tells Argo where a run's artifacts go."""
    url = urlsplit(s3.endpoint or f"https://{AWS}")
    repository: Object = {
        "bucket": s3.bucket,
        "endpoint": url.netloc,
        "insecure": url.scheme == "http",
        "keyFormat": "runs/{{workflow.name}}/{{pod.name}}",
    }
    if s3.region:
        repository["region"] = s3.region
    if s3.access_key:
        repository["accessKeySecret"] = {"name": S3_SECRET, "key": "accessKey"}
        repository["secretKeySecret"] = {"name": S3_SECRET, "key": "secretKey"}
    else:
        repository["useSDKCreds"] = True
    if s3.token:
        repository["sessionTokenSecret"] = {"name": S3_SECRET, "key": "sessionToken"}
    if s3.ca:
        repository["caSecret"] = {"name": S3_SECRET, "key": "caBundle"}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": REPOSITORIES,
            "labels": {"app.kubernetes.io/part-of": "tiphys"},
            "annotations": {GIVEN: "true", "workflows.argoproj.io/default-artifact-repository": "default"},
        },
        "data": {"default": as_yaml({"s3": repository})},
    }
    return [_secret(S3_SECRET, s3.data()), config]


def refuse_others(kube: Kube, objects: list[Object]) -> None:
    """See that what a person's values would go into is ours, or not there.

    Raises:
        ToolError: somebody else made one of the objects.
    """
    for one in objects:
        live = kube.find(one)
        if live is not None and not applyset.is_member(live, kube.namespace):
            raise ToolError(
                f"{shown(one)} is in namespace {kube.namespace} and was not made by `tiphys install`: it stays as it "
                "is. Change it yourself, or remove it, or leave out the --s3 options"
            )
