"""Credentials of the platform's S3 server: made once, kept readable to their owner only."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiphys.local.files import locked, write_whole
from tiphys.local.settings import Settings

BUCKET = "tiphys"
REGION = "us-east-1"


@dataclass(frozen=True)
class Credentials:
    """What a client needs to reach the bucket.

    Attributes:
        endpoint: base URL of the server.
        access_key: the key's public half.
        secret_key: the key's secret half.
        region: what requests are signed for.
        bucket: the platform's bucket.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION
    bucket: str = BUCKET

    def client(self) -> Any:
        """Return a boto3 client (not shared between processes)."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            # One address, no DNS: the bucket goes into the path. No retries here: callers poll themselves.
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                connect_timeout=2,
                read_timeout=10,
                proxies={},
            ),
        )


def credentials_file(home: Path) -> Path:
    """Return the file that holds the keys."""
    return home / "s3.credentials"


def load_or_make(settings: Settings) -> Credentials:
    """Return the platform's credentials, making random ones the first time."""
    file = credentials_file(settings.home)
    with locked(file.with_suffix(".lock")):
        try:
            keys = json.loads(file.read_text())
        except FileNotFoundError:
            keys = {"accessKey": f"TIPHYS{secrets.token_hex(7).upper()}", "secretKey": secrets.token_urlsafe(30)}
            write_whole(file, json.dumps(keys) + "\n")
    return Credentials(settings.s3_url, keys["accessKey"], keys["secretKey"])


def list_bucket(credentials: Credentials) -> None:
    """List the bucket, making it if it is missing: the proof that the server takes signed requests.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: the server did not answer, or refused.
    """
    from botocore.exceptions import ClientError

    client = credentials.client()
    try:
        client.list_objects_v2(Bucket=credentials.bucket, MaxKeys=1)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise
        client.create_bucket(Bucket=credentials.bucket)
        client.list_objects_v2(Bucket=credentials.bucket, MaxKeys=1)
    finally:
        client.close()
