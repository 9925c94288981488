"""The bucket as a person's machine reaches it: the settings that the steps get, taken from the cluster.

Where the Secret has no keys, since the steps have a workload identity, the person's own AWS credentials are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from steps.backup.objects import Bucket
from steps.backup.s3_errors import told
from steps.backup.s3_settings import CONFIG_MAP, SECRET, VARIABLES, Settings
from steps.errors import BadParameters, StepError
from tiphys.runs.api import Cluster
from tiphys.runs.errors import NotFound, ToolError

TIMEOUT_SECONDS = 15.0


@contextmanager
def bucket_of(cluster: Cluster, endpoint: str | None = None) -> Iterator[Bucket]:
    """Yield the bucket of a cluster's backups and reports; errors of S3 become the tool's own.

    Args:
        cluster: whose Secret ``tiphys-s3`` names the bucket.
        endpoint: URL to use in place of the Secret's, which may be known within the cluster only.

    Raises:
        ToolError: the Secret is missing or wrong, or S3 does not answer or refuses.
    """
    with opened(settings_of(cluster, endpoint)) as bucket:
        yield bucket


@contextmanager
def opened(settings: Settings) -> Iterator[Bucket]:
    """Yield a bucket that answers; errors of S3 become the tool's own.

    Raises:
        ToolError: S3 does not answer or refuses; its cause is the step's error.
    """
    try:
        client = settings.client(32)
        bucket = Bucket(client, settings.bucket, write=settings.write, checksum=settings.checksum)
        try:
            # Once and without patience: a person waits for the answer.
            with told("list", settings.bucket):
                client.list_objects_v2(Bucket=settings.bucket, MaxKeys=1)
            yield bucket
        finally:
            bucket.close()
    except StepError as error:
        raise ToolError(f"{error}{_hint(settings, error)}") from error


def settings_of(cluster: Cluster, endpoint: str | None = None) -> Settings:
    """Return the settings that the cluster's Secret and ConfigMap hold.

    Raises:
        ToolError: the Secret is missing, or they cannot be right.
    """
    try:
        secret = cluster.secret(SECRET)
    except NotFound as error:
        raise ToolError(
            f"no Secret {SECRET} in namespace {cluster.namespace}, which tells where backups and reports are"
        ) from error
    try:
        data: Mapping[str, str] = cluster.config_map(CONFIG_MAP)
    except NotFound:
        data = {}
    origins = {SECRET: secret, CONFIG_MAP: data}
    environment = {each.name: origins[each.origin].get(each.key, "") for each in VARIABLES}
    if endpoint:
        environment["S3_ENDPOINT"] = endpoint
    try:
        settings = Settings.read(environment)
    except BadParameters as error:
        raise ToolError(str(error)) from error
    return replace(settings, timeout=min(settings.timeout, TIMEOUT_SECONDS))


def _hint(settings: Settings, error: StepError) -> str:
    if error.exit_code != 75:
        return ""
    where = settings.endpoint or "AWS"
    return (
        f" Is S3 up (`tiphys status`)? If {where} is known within the cluster only, forward a port to it "
        "(kubectl port-forward) and add --endpoint http://127.0.0.1:PORT."
    )
