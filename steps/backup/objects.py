"""Objects in the S3 bucket: read, list, write, and write as a stream without a file or the whole in memory.

The bucket comes from the environment: S3_ENDPOINT (empty for AWS itself), S3_REGION, S3_BUCKET, and the credentials as
boto3 finds them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or a workload identity).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from steps.errors import BadParameters, StepError, Temporary

PART_BYTES = 8 * 1024 * 1024
MOST_PARTS = 10_000
"""S3 takes no more parts than this in an object, each of 5 MiB at least but the last."""

_LATER = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeTooSkewed", "503", "500", "502"}
)
_HINTS = {
    "NoSuchBucket": "Make the bucket, or name another one in the Secret tiphys-s3 (bucket).",
    "InvalidAccessKeyId": "Compare accessKey in the Secret tiphys-s3 with the server's.",
    "SignatureDoesNotMatch": "Compare secretKey and region in the Secret tiphys-s3 with the server's.",
    "AccessDenied": "Give the key the right to list, read, write and delete in the bucket.",
    "403": "Give the key the right to list, read, write and delete in the bucket.",
}


class NoObject(StepError):
    """There is no object of this name."""


class Bucket:
    """One bucket. Threads may share it.

    Args:
        client: of boto3.
        name: of the bucket.
    """

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name

    @classmethod
    def from_environment(cls, *, connections: int = 32) -> Bucket:
        """Return the bucket that the environment names.

        Raises:
            BadParameters: S3_BUCKET is not set.
        """
        import boto3
        from botocore.config import Config

        name = os.environ.get("S3_BUCKET", "")
        if not name:
            raise BadParameters("S3_BUCKET is not set: the template gives it from the Secret tiphys-s3, key bucket.")
        endpoint = os.environ.get("S3_ENDPOINT") or None
        if endpoint and "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        config = Config(
            # An address of one's own has no name for each bucket.
            s3={"addressing_style": "path" if endpoint else "auto"},
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=connections,
            # Not every S3 server knows the newer checksums; the signature covers the content, and we keep SHA-256.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        region = os.environ.get("S3_REGION") or None
        return cls(boto3.client("s3", endpoint_url=endpoint, region_name=region, config=config), name)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def put(self, key: str, content: bytes) -> None:
        """Write one object as a whole."""
        with told(f"write {key}", self.name):
            self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        """Return an object's content.

        Raises:
            NoObject: there is none.
        """
        with told(f"read {key}", self.name):
            content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
            return content

    def stream(self, key: str, size: int = 1024 * 1024) -> Iterator[bytes]:
        """Yield an object's content in pieces of at most `size` bytes.

        Raises:
            NoObject: there is none.
        """
        with told(f"read {key}", self.name):
            body = self.client.get_object(Bucket=self.name, Key=key)["Body"]
            try:
                yield from body.iter_chunks(size)
            finally:
                body.close()

    def keys(self, prefix: str) -> dict[str, int]:
        """Return the keys that begin with `prefix`, and their sizes in bytes."""
        found: dict[str, int] = {}
        with told(f"list {prefix}", self.name):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                found |= {str(item["Key"]): int(item["Size"]) for item in page.get("Contents", [])}
        return found

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right below `prefix`, which ends with a slash."""
        names: list[str] = []
        with told(f"list {prefix}", self.name):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                names += [str(item["Prefix"])[len(prefix) :].rstrip("/") for item in page.get("CommonPrefixes", [])]
        return names

    def delete(self, key: str) -> None:
        """Delete an object; none there is no error."""
        with told(f"delete {key}", self.name):
            self.client.delete_object(Bucket=self.name, Key=key)


class Upload:
    """Writes one object as its content comes, keeping at most one part in memory.

    The object's name is fixed when the first part is sent, so `key` may change until `begun`. Parts grow with their
    number, so that no length is too much for MOST_PARTS. An upload that is neither finished nor aborted leaves no
    object, but parts that cost storage.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._buffer = bytearray()
        self._id = ""
        self._parts: list[dict[str, Any]] = []

    @property
    def begun(self) -> bool:
        """Whether a part is sent, and the key fixed."""
        return bool(self._id)

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far, in hex."""
        return self._sha256.hexdigest()

    def write(self, content: bytes) -> None:
        """Append to the object."""
        self._buffer += content
        self._sha256.update(content)
        self.size += len(content)
        part = PART_BYTES * (1 + len(self._parts) // 1000)
        while len(self._buffer) >= part:
            self._send(bytes(memoryview(self._buffer)[:part]))
            del self._buffer[:part]

    def finish(self) -> None:
        """Send the rest; the object exists after this."""
        if not self.begun:
            self.bucket.put(self.key, bytes(self._buffer))
            return
        if self._buffer:
            self._send(bytes(self._buffer))
        with told(f"complete {self.key}", self.bucket.name):
            self.bucket.client.complete_multipart_upload(
                Bucket=self.bucket.name, Key=self.key, UploadId=self._id, MultipartUpload={"Parts": self._parts}
            )

    def abort(self) -> None:
        """Throw away what was sent; the object does not exist. Errors are not told: another one is on its way."""
        if self.begun:
            with suppress(Exception):
                self.bucket.client.abort_multipart_upload(Bucket=self.bucket.name, Key=self.key, UploadId=self._id)

    def _send(self, content: bytes) -> None:
        bucket, client = self.bucket.name, self.bucket.client
        number = len(self._parts) + 1
        with told(f"write part {number} of {self.key}", bucket):
            if not self.begun:
                self._id = str(client.create_multipart_upload(Bucket=bucket, Key=self.key)["UploadId"])
            sent = client.upload_part(Bucket=bucket, Key=self.key, UploadId=self._id, PartNumber=number, Body=content)
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number})


@contextmanager
def told(action: str, bucket: str) -> Iterator[None]:
    """Turn boto3's errors into the steps' own.

    Args:
        action: what was tried, for the message.
        bucket: its name, for the message.

    Raises:
        NoObject: there is no such object.
        Temporary: the server is away, slow or failing, after boto3's own attempts.
        StepError: anything else, such as a missing bucket or a refused key.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
        message = f"S3 bucket {bucket}: cannot {action}: {error}"
        if code in ("NoSuchKey", "404"):
            raise NoObject(message) from error
        if code in _LATER or status >= 500:
            raise Temporary(message) from error
        raise StepError(f"{message}. {_HINTS.get(code, 'See the S3 server for the reason.')}") from error
    except NoCredentialsError as error:
        raise StepError(
            f"S3 bucket {bucket}: cannot {action}: no credentials. The Secret tiphys-s3 gives accessKey and secretKey."
        ) from error
    except (BotoCoreError, OSError) as error:
        raise Temporary(f"S3 bucket {bucket}: cannot {action}: {error}") from error
