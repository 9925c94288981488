"""Settings of the S3 client: read from the environment in one place, checked, and made into boto3's client.

The templates fill the environment from the Secret ``tiphys-s3`` (where the bucket is, and the keys) and from the
ConfigMap ``tiphys-settings`` (how it is used): `VARIABLES` is the whole list, and docs/s3.md shows it.
"""

from __future__ import annotations

import atexit
import configparser
import ipaddress
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from steps.errors import BadParameters

SECRET, CONFIG_MAP = "tiphys-s3", "tiphys-settings"


class Variable(NamedTuple):
    """One setting: its variable, the Secret or ConfigMap and key that give it, and what it means."""

    name: str
    origin: str
    key: str
    needed: bool
    help: str


VARIABLES = (
    Variable("S3_BUCKET", SECRET, "bucket", True, "Name of the bucket."),
    Variable("S3_ENDPOINT", SECRET, "endpoint", False, "URL of the server, with http:// or https://. Empty: AWS."),
    Variable("S3_REGION", SECRET, "region", False, "Region that requests are signed for. Empty: as boto3 finds it."),
    Variable("AWS_ACCESS_KEY_ID", SECRET, "accessKey", False, "Access key. Empty: profile, or workload identity."),
    Variable("AWS_SECRET_ACCESS_KEY", SECRET, "secretKey", False, "Its secret half."),
    Variable("AWS_SESSION_TOKEN", SECRET, "sessionToken", False, "Token of temporary keys."),
    Variable("S3_PROFILE", SECRET, "profile", False, "Profile of `credentials`, or of the container's AWS files."),
    Variable("S3_CREDENTIALS", SECRET, "credentials", False, "Content of an AWS credentials file, with the profile."),
    Variable("S3_CA_BUNDLE", SECRET, "caBundle", False, "PEM certificates that sign the server's. Empty: public ones."),
    Variable("S3_PATH_STYLE", CONFIG_MAP, "s3-path-style", False, "on, off, or auto: on for an endpoint, off for AWS."),
    Variable("S3_SERVER_SIDE_ENCRYPTION", CONFIG_MAP, "s3-server-side-encryption", False, "none, AES256 or aws:kms."),
    Variable("S3_KMS_KEY_ID", CONFIG_MAP, "s3-kms-key-id", False, "KMS key for aws:kms. Empty: the account's own."),
    Variable("S3_STORAGE_CLASS", CONFIG_MAP, "s3-storage-class", False, "Such as STANDARD_IA. Empty: the bucket's."),
    Variable("S3_CHECKSUM", CONFIG_MAP, "s3-checksum", False, "crc32, or none for servers that refuse the header."),
    Variable("S3_TIMEOUT_SECONDS", CONFIG_MAP, "s3-timeout-seconds", False, "Silence after which a request is lost."),
)
"""Every setting, in the order of docs/s3.md."""

TIMEOUT_SECONDS = 45.0
ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
_WHERE = {variable.name: f"{variable.origin}, key {variable.key}" for variable in VARIABLES}
_FROZEN = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True)
class Settings:
    """What the client needs to know.

    Attributes:
        bucket: its name.
        endpoint: URL; None for AWS.
        region: None where boto3 is to find it.
        path_style: whether the bucket is in the path; None leaves it to boto3.
        access_key: static key; None for boto3's own chain (web identity, container, instance).
        secret_key: its secret half.
        token: of temporary keys.
        profile: of AWS's files, used where there is no static key.
        ca_bundle: PEM text, or the path of a file.
        write: arguments of every write: server-side encryption and storage class.
        checksum: whether every write carries its CRC-32.
        timeout: seconds of silence after which a request counts as lost.
    """

    bucket: str
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    profile: str | None = None
    ca_bundle: str | None = field(default=None, repr=False)
    write: Mapping[str, str] = field(default_factory=dict)
    checksum: bool = True
    timeout: float = TIMEOUT_SECONDS

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Return the settings that an environment holds; a variable that is empty counts as not set.

        Raises:
            BadParameters: one of them cannot be right; the message says which, and where it comes from.
        """
        given = {name: text for name in _WHERE if (text := environment.get(name, "").strip())}
        if "S3_BUCKET" not in given:
            raise BadParameters(
                "S3_BUCKET is not set: the template gives it from the Secret tiphys-s3, key bucket. See docs/s3.md."
            )
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", given["S3_BUCKET"], re.IGNORECASE):
            raise _bad("S3_BUCKET", given, "a bucket's name of 3 to 63 letters, digits, dots and hyphens")
        key, secret, token = _keys(given)
        return cls(
            bucket=given["S3_BUCKET"],
            endpoint=_endpoint(given),
            region=given.get("S3_REGION"),
            path_style=_choice("S3_PATH_STYLE", given, {"on": True, "off": False, "auto": None}),
            access_key=key,
            secret_key=secret,
            token=token,
            profile=None if key else given.get("S3_PROFILE"),
            ca_bundle=_ca_bundle(given),
            write=_write(given),
            checksum=bool(_choice("S3_CHECKSUM", given, {"crc32": True, "none": False}, default=True)),
            timeout=_timeout(given),
        )

    def client(self, connections: int) -> Any:
        """Return boto3's client.

        It never tries anything again by itself: `steps.backup.s3_errors.patiently` does, and says so.

        Args:
            connections: kept open at one time.

        Raises:
            BadParameters: the profile is not there, or boto3 finds no region.
        """
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError, ProfileNotFound

        path_style = bool(self.endpoint) if self.path_style is None else self.path_style
        style = "path" if path_style else "auto" if self.path_style is None else "virtual"
        config = Config(
            s3={"addressing_style": style},
            retries={"mode": "standard", "total_max_attempts": 1},
            # The first bounds each block that is sent as well: urllib3 sends with the timeout of the connect.
            connect_timeout=min(self.timeout, 15.0),
            read_timeout=self.timeout,
            max_pool_connections=connections,
            # What is on this very machine is behind no proxy.
            proxies={} if _is_loopback(self.endpoint or "") else None,
            # Not every S3 server knows boto3's way of sending checksums; ours is a plain header.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            session = boto3.session.Session(profile_name=self.profile, region_name=self.region)
            return session.client(
                "s3",
                endpoint_url=self.endpoint,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                aws_session_token=self.token,
                verify=_file_of(self.ca_bundle) if self.ca_bundle else None,
                config=config,
            )
        except ProfileNotFound as error:
            raise BadParameters(
                f"S3_PROFILE is {self.profile!r}, which AWS's files in this container do not have ({error}). Put the "
                "credentials file's content into the Secret tiphys-s3, key credentials, or take the key profile out."
            ) from error
        except NoRegionError as error:
            raise BadParameters(
                "No region: put it into the Secret tiphys-s3, key region (us-east-1 will do for most servers that "
                "are not AWS)."
            ) from error


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bad(name: str, given: Mapping[str, str], expected: str) -> BadParameters:
    # A URL may have a user and a password, by mistake.
    seen = re.sub(r"//.*@", "//***@", given[name])
    return BadParameters(f"{name} is {seen!r:.80} ({_WHERE[name]}); expected {expected}. See docs/s3.md.")


def _choice(name: str, given: Mapping[str, str], known: Mapping[str, bool | None], default: Any = None) -> bool | None:
    if name not in given:
        return bool(default) if default is not None else None
    if given[name].lower() not in known:
        raise _bad(name, given, " or ".join(known))
    return known[given[name].lower()]


def _endpoint(given: Mapping[str, str]) -> str | None:
    if "S3_ENDPOINT" not in given:
        return None
    try:
        url = urlsplit(given["S3_ENDPOINT"])
        whole = url.scheme in ("http", "https") and url.hostname and url.port != 0
        whole = whole and "@" not in url.netloc and not url.query and url.path in ("", "/")
    except ValueError:
        whole = False
    if not whole:
        raise _bad("S3_ENDPOINT", given, "a URL such as https://s3.example.com:9000, without the bucket")
    return given["S3_ENDPOINT"].rstrip("/")


def _keys(given: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
    """Return the static key, its secret and its token, from their variables or a credentials file's content."""
    key, secret = given.get("AWS_ACCESS_KEY_ID"), given.get("AWS_SECRET_ACCESS_KEY")
    if bool(key) != bool(secret):
        seen, lacking = ("accessKey", "secretKey") if key else ("secretKey", "accessKey")
        raise BadParameters(
            f"The Secret tiphys-s3 has {seen} but no {lacking}; expected both, or neither for a profile or a workload "
            "identity. See docs/s3.md."
        )
    if key:
        if "S3_PROFILE" in given or "S3_CREDENTIALS" in given:
            raise BadParameters(
                "The Secret tiphys-s3 has accessKey and also profile or credentials; expected one of the two ways. "
                "Take the other one out."
            )
        return key, secret, given.get("AWS_SESSION_TOKEN")
    if "S3_CREDENTIALS" not in given:
        return None, None, None
    profile = given.get("S3_PROFILE", "default")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(given["S3_CREDENTIALS"])
    except configparser.Error as error:
        # Its message would quote the line, and with it the secret.
        raise BadParameters(
            f"S3_CREDENTIALS ({_WHERE['S3_CREDENTIALS']}) is no AWS credentials file ({type(error).__name__}); "
            "expected [profile] and lines such as aws_access_key_id = ..."
        ) from None
    if not parser.has_section(profile):
        raise BadParameters(
            f"The Secret tiphys-s3, key credentials, has no profile {profile!r}; it has "
            f"{', '.join(parser.sections()) or 'none'}. Name one of them (key profile)."
        )
    values = parser[profile]
    if not values.get("aws_access_key_id") or not values.get("aws_secret_access_key"):
        raise BadParameters(
            f"Profile {profile!r} in the Secret tiphys-s3, key credentials, has {', '.join(values) or 'nothing'}; "
            "expected aws_access_key_id and aws_secret_access_key."
        )
    return values["aws_access_key_id"], values["aws_secret_access_key"], values.get("aws_session_token")


def _write(given: Mapping[str, str]) -> dict[str, str]:
    write: dict[str, str] = {}
    kind = given.get("S3_SERVER_SIDE_ENCRYPTION", "none")
    if kind != "none":
        if kind not in ENCRYPTIONS:
            raise _bad("S3_SERVER_SIDE_ENCRYPTION", given, f"none, {', '.join(ENCRYPTIONS)}")
        write["ServerSideEncryption"] = kind
    if key := given.get("S3_KMS_KEY_ID"):
        if not kind.startswith("aws:kms"):
            raise BadParameters(
                f"s3-kms-key-id is set ({CONFIG_MAP}), but s3-server-side-encryption is {kind!r}; expected aws:kms "
                "with a key. Set it, or take the key out."
            )
        write["SSEKMSKeyId"] = key
    if storage := given.get("S3_STORAGE_CLASS"):
        if storage in _FROZEN or not re.fullmatch(r"[A-Z0-9_]+", storage):
            raise _bad("S3_STORAGE_CLASS", given, "a class that can be read at once, such as STANDARD_IA or GLACIER_IR")
        write["StorageClass"] = storage
    return write


def _timeout(given: Mapping[str, str]) -> float:
    try:
        seconds = float(given.get("S3_TIMEOUT_SECONDS", TIMEOUT_SECONDS))
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 900:
        raise _bad("S3_TIMEOUT_SECONDS", given, "seconds between 0.1 and 900")
    return seconds


def _ca_bundle(given: Mapping[str, str]) -> str | None:
    text = given.get("S3_CA_BUNDLE")
    if text and "-----BEGIN CERTIFICATE-----" not in text and not Path(text).is_file():
        raise _bad("S3_CA_BUNDLE", given, "PEM text with BEGIN CERTIFICATE, or the path of a file")
    return text


def _file_of(bundle: str) -> str:
    """Return a file that holds the certificates: they are read at each new connection."""
    if "-----BEGIN" not in bundle:
        return bundle
    handle, path = tempfile.mkstemp(prefix="s3-ca-", suffix=".pem")
    with os.fdopen(handle, "w") as file:
        file.write(bundle + "\n")
    atexit.register(Path(path).unlink, missing_ok=True)
    return path
