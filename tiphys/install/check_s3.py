"""Whether S3 answers from here, with the values that the steps have or will have."""

from __future__ import annotations

from urllib.parse import urlsplit

from steps.backup.s3_settings import SECRET
from steps.errors import StepError
from tiphys.install.findings import ERROR, OK, WARNING, Finding
from tiphys.install.given import S3
from tiphys.install.kube import Kube
from tiphys.runs.errors import Forbidden, NotFound, ToolError
from tiphys.runs.s3 import opened, settings_of

_INSIDE = (".svc", ".svc.cluster.local", ".cluster.local")
_HOW = (
    "AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... \\",
    "  tiphys install --s3-bucket NAME --s3-endpoint URL",
)


def look(kube: Kube, s3: S3 | None) -> Finding:
    """Look for the bucket.

    Args:
        kube: the cluster, whose Secret is asked where no values are given.
        s3: values for an install that is to come.
    """
    try:
        settings = s3.settings() if s3 else settings_of(kube.cluster)
    except Forbidden:
        return Finding("s3", WARNING, f"you may not read Secret {SECRET} in {kube.namespace}")
    except ToolError as error:
        if not isinstance(error.__cause__, NotFound):
            return Finding("s3", ERROR, error.message)
        text = f"no Secret {SECRET} in {kube.namespace}: reports and backups have no place, so runs fail"
        return Finding("s3", ERROR, text, ("say where they go:", *_HOW))
    where = f"bucket {settings.bucket} at {settings.endpoint or 'AWS'}"
    try:
        with opened(settings):
            return Finding("s3", OK, f"{where} answers from here")
    except ToolError as error:
        cause = error.__cause__
        host = urlsplit(settings.endpoint or "").hostname or ""
        is_away = isinstance(cause, StepError) and cause.exit_code == 75
        if host.endswith(_INSIDE):
            # Whatever answered, it may have been a proxy that knows no more.
            return Finding("s3", WARNING, f"{where} is known within the cluster only; from here nobody can tell")
        text = str(cause) if cause else error.message
        if settings.access_key is None and not is_away:
            return Finding("s3", WARNING, f"{where}: no keys, since the pods have an identity of their own: {text}")
        return Finding("s3", ERROR, text)
