"""Errors of S3: which are worth another try, what to do about the others, and the trying again itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from steps.errors import StepError, Temporary
from steps.log import log

WAITS = (0.5, 1, 2, 4, 8, 16)
"""Seconds before each new try, up to a quarter more at random, so that threads do not come back at one moment."""

_LATER = frozenset(
    {
        *("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeTooSkewed"),
        *("Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "OperationAborted"),
        # Two writes of one name met: AWS asks for another try.
        "ConditionalRequestConflict",
        # What came in is not what was sent: it was changed or cut on its way.
        *("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
    }
)
_LATER_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509})
_KEYS = "or, without keys, the role of the pod's ServiceAccount"
_RIGHTS = "Give the key the rights that docs/s3.md lists on the bucket (list, read, write, delete)."
_HINTS = {
    "NoSuchBucket": "Make the bucket, or name another one in the Secret tiphys-s3 (bucket).",
    "InvalidBucketName": "Name another bucket in the Secret tiphys-s3 (bucket).",
    "InvalidAccessKeyId": f"Compare accessKey in the Secret tiphys-s3 with the server's, {_KEYS}.",
    "SignatureDoesNotMatch": "Compare secretKey and region in the Secret tiphys-s3 with the server's.",
    "AuthorizationHeaderMalformed": "Compare region in the Secret tiphys-s3 with the bucket's.",
    "PermanentRedirect": "The bucket is in another region: name it in the Secret tiphys-s3 (region, endpoint).",
    "ExpiredToken": "The temporary keys have run out: renew them in the Secret tiphys-s3, or use a workload identity.",
    "InvalidToken": "Renew sessionToken in the Secret tiphys-s3, or take it out.",
    "InvalidIdentityToken": "Compare the role's trust policy with the cluster's issuer and the ServiceAccount.",
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "403": _RIGHTS,
    "InvalidObjectState": "The object is archived: restore it to a class that can be read at once, then try again.",
    "NotImplemented": "The server does not know this request: see docs/s3.md for settings that leave it out.",
    "PreconditionFailed": "The object was replaced meanwhile: let nobody else write there, and run this again.",
}
_T = TypeVar("_T")


class NoObject(StepError):
    """There is no object of this name."""


@contextmanager
def told(action: str, bucket: str) -> Iterator[None]:
    """Turn boto3's errors into the steps' own.

    Args:
        action: what was tried, for the message.
        bucket: its name, for the message.

    Raises:
        NoObject: there is no such object.
        Temporary: the server is away, slow or failing, or what it got was damaged on its way.
        StepError: anything else, such as a missing bucket or a refused key.
    """
    from botocore import exceptions as boto

    start = f"S3 bucket {bucket}: cannot {action}: "
    try:
        yield
    except boto.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
        if code in ("NoSuchKey", "404"):
            raise NoObject(f"{start}{error}") from error
        if code in _LATER or status in _LATER_STATUS or (code.isdigit() and int(code) in _LATER_STATUS):
            raise Temporary(f"{start}{error}") from error
        raise StepError(
            f"{start}{str(error).rstrip('.')}. {_HINTS.get(code, 'See the S3 server for the reason.')}"
        ) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
        raise StepError(
            f"{start}no credentials. The Secret tiphys-s3 gives accessKey and secretKey; without them, the pod needs a "
            "workload identity (docs/s3.md)."
        ) from error
    except boto.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise StepError(
                f"{start}{error}. Nobody known here signed the server's certificate: put its CA into the Secret "
                "tiphys-s3, key caBundle."
            ) from error
        raise Temporary(f"{start}{error}") from error
    except (boto.ParamValidationError, boto.UnauthorizedSSOTokenError) as error:
        raise StepError(f"{start}{error}. See docs/s3.md for the settings.") from error
    except (boto.BotoCoreError, OSError) as error:
        raise Temporary(f"{start}{error}") from error


def patiently(action: str, bucket: str, act: Callable[[], _T]) -> _T:
    """Do something with S3, again where that may help, each new try with a line in the log.

    Args:
        action: what is tried, for the messages.
        bucket: its name.
        act: does it; safe to be done twice.

    Raises:
        NoObject, Temporary, StepError: as `told`; Temporary only after the last try.
    """
    for attempt, wait in enumerate((*WAITS, None), 1):
        try:
            with told(action, bucket):
                return act()
        except Temporary as error:
            if wait is None:
                raise Temporary(f"{error} (tried {attempt} times)") from error
            pause(action, wait, attempt, error)
    raise AssertionError("the last attempt raises")


def pause(action: str, seconds: float, attempt: int, error: Exception) -> None:
    """Say that something will be tried again, and wait until then."""
    wait = seconds * random.uniform(1, 1.25)
    log("trying S3 again", action=action, in_seconds=round(wait, 2), failed_attempts=attempt, reason=str(error))
    time.sleep(wait)
