"""One object as a stream of bytes, whatever happens to its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steps.backup import s3_errors
from steps.backup.s3_errors import pause, told
from steps.errors import Temporary

if TYPE_CHECKING:
    from steps.backup.objects import Bucket


class ObjectStream:
    """The bytes of one object; a connection that breaks is taken up where it broke.

    The object must stay the same meanwhile: S3 is asked for that very version (If-Match; by its time where it has no
    ETag, as with files that were copied back below a server that keeps objects as files).
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.offset, self.size = 0, -1
        self._same: dict[str, Any] = {}
        self._body: Any = None

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, nothing at the end.

        Raises:
            StepError: no such object, no right to read it, or it has been replaced while it was read.
            Temporary: S3 does not deliver it, after several tries.
        """
        for attempt, wait in enumerate((*s3_errors.WAITS, None), 1):
            action = f"read {self.key} (at byte {self.offset})"
            try:
                with told(action, self.bucket.name):
                    return self._read(size)
            except Temporary as error:
                self.close()
                if wait is None:
                    raise Temporary(f"{error} (tried {attempt} times)") from error
                pause(action, wait, attempt, error)
        raise AssertionError("the last attempt raises")

    def _read(self, size: int) -> bytes:
        if self.offset == self.size:
            return b""
        if self._body is None:
            rest = {"Range": f"bytes={self.offset}-", **self._same} if self.offset else {}
            answer = self.bucket.client.get_object(Bucket=self.bucket.name, Key=self.key, **rest)
            if not self.offset:
                self.size = int(answer["ContentLength"])
                tag, changed = answer.get("ETag"), answer.get("LastModified")
                self._same = {"IfMatch": tag} if tag else {"IfUnmodifiedSince": changed} if changed else {}
            self._body = answer["Body"]
            if not self.size:
                return b""
        part: bytes = self._body.read(size)
        if not part:
            raise Temporary(f"{self.key} ended after {self.offset} of {self.size} bytes")
        self.offset += len(part)
        return part

    def close(self) -> None:
        """Let the connection go."""
        if self._body is not None:
            self._body.close()
            self._body = None
