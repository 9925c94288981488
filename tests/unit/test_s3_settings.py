"""The settings of S3: what the environment may say, what it must not, and that a server is reached with them."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from http_help import Quiet, serving
from s3_faults import ALWAYS, Fault, Proxy, Server, bucket_of

from steps.backup.objects import Upload
from steps.backup.s3_settings import VARIABLES, Settings
from steps.errors import BadParameters, StepError

PLAIN = {"S3_BUCKET": "tiphys", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden-secret"}
FILE = "".join(f"[{p}]\naws_access_key_id = {p}-key\naws_secret_access_key = {p}-secret\n" for p in ("default", "prod"))
HOST = f"127.86.{os.getpid() % 250 + 1}.3"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "S3_BUCKET is not set.*Secret tiphys-s3, key bucket"),
        ({**PLAIN, "S3_BUCKET": "s3://tiphys"}, "S3_BUCKET is 's3://tiphys'.*expected a bucket's name"),
        ({**PLAIN, "S3_ENDPOINT": "s3.example.com"}, "S3_ENDPOINT is 's3.example.com'.*https://s3.example.com:9000"),
        ({**PLAIN, "S3_ENDPOINT": "https://s3.example.com/tiphys"}, "without the bucket"),
        ({**PLAIN, "S3_ENDPOINT": "http://h:port"}, "S3_ENDPOINT"),
        ({**PLAIN, "S3_PATH_STYLE": "yes"}, "S3_PATH_STYLE is 'yes' .ConfigMap|S3_PATH_STYLE.*on or off or auto"),
        ({**PLAIN, "S3_SERVER_SIDE_ENCRYPTION": "AES"}, "expected none, AES256, aws:kms"),
        ({**PLAIN, "S3_KMS_KEY_ID": "k"}, "s3-kms-key-id is set.*is 'none'; expected aws:kms"),
        ({**PLAIN, "S3_STORAGE_CLASS": "GLACIER"}, "read at once"),
        ({**PLAIN, "S3_CHECKSUM": "md5"}, "S3_CHECKSUM is 'md5'.*crc32 or none"),
        ({**PLAIN, "S3_TIMEOUT_SECONDS": "never"}, "S3_TIMEOUT_SECONDS is 'never'.*between 0.1 and 900"),
        ({**PLAIN, "S3_CA_BUNDLE": "/no/such/file"}, "S3_CA_BUNDLE.*PEM"),
        ({"S3_BUCKET": "tiphys", "AWS_ACCESS_KEY_ID": "key"}, "has accessKey but no secretKey"),
        ({**PLAIN, "S3_PROFILE": "prod"}, "accessKey and also profile"),
        (
            {"S3_BUCKET": "tiphys", "S3_CREDENTIALS": FILE, "S3_PROFILE": "test"},
            "no profile 'test'; it has default, prod",
        ),
        ({"S3_BUCKET": "tiphys", "S3_CREDENTIALS": "aws_secret_access_key = hidden-secret"}, "no AWS credentials file"),
        (
            {"S3_BUCKET": "tiphys", "S3_CREDENTIALS": "[default]\nregion = x"},
            "'default'.* has region; expected aws",
        ),
    ],
)
def test_a_bad_setting_is_told_with_its_place_and_never_with_a_secret(environment: dict[str, str], said: str) -> None:
    with pytest.raises(BadParameters, match=said) as caught:
        Settings.read(environment)
    assert "hidden-secret" not in str(caught.value)


def test_a_profile_that_is_nowhere_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(BadParameters, match="S3_PROFILE is 'prod'.*key credentials"):
        Settings.read({"S3_BUCKET": "tiphys", "S3_PROFILE": "prod"}).client(1)


def test_settings_are_read() -> None:
    read = Settings.read(
        {
            **PLAIN,
            "S3_ENDPOINT": "https://s3.example.com:9000/",
            "S3_REGION": "eu-central-1",
            "S3_SERVER_SIDE_ENCRYPTION": "aws:kms",
            "S3_KMS_KEY_ID": "arn:aws:kms:eu-central-1:1:key/2",
            "S3_STORAGE_CLASS": "STANDARD_IA",
            "S3_CHECKSUM": "none",
            "S3_PROFILE": "",
        }
    )
    assert (read.endpoint, read.region) == ("https://s3.example.com:9000", "eu-central-1")
    assert read.write == {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "arn:aws:kms:eu-central-1:1:key/2",
        "StorageClass": "STANDARD_IA",
    }
    assert not read.checksum and "hidden-secret" not in repr(read)
    one = Settings.read({"S3_BUCKET": "tiphys", "S3_CREDENTIALS": FILE, "S3_PROFILE": "prod"})
    assert (one.access_key, one.secret_key) == ("prod-key", "prod-secret")


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"S3_ENDPOINT": "https://s3.example.com"}, "https://s3.example.com/tiphys"),
        ({"S3_ENDPOINT": "https://s3.example.com", "S3_PATH_STYLE": "off"}, "https://tiphys.s3.example.com/"),
        ({"S3_REGION": "eu-central-1"}, "https://tiphys.s3"),
        ({"S3_REGION": "eu-central-1", "S3_PATH_STYLE": "on"}, "https://s3.eu-central-1.amazonaws.com/tiphys"),
    ],
)
def test_the_bucket_is_in_the_path_or_in_the_name(environment: dict[str, str], url: str) -> None:
    client = Settings.read({"S3_REGION": "us-east-1", **PLAIN, **environment}).client(1)
    made = client.generate_presigned_url("get_object", Params={"Bucket": "tiphys", "Key": "x"})
    assert made.startswith(url)
    client.close()


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("https://me:hunter2@s3.example.com", "'https://***@s3.example.com'"),
        ("https://hunter2@s3.example.com", "'https://***@s3.example.com'"),
        ("https://:hunter2@s3.example.com", "'https://***@s3.example.com'"),
        ("http://[::1", "'http://[::1'"),
    ],
)
def test_an_endpoint_that_is_none_is_told_without_its_password(endpoint: str, shown: str) -> None:
    with pytest.raises(BadParameters, match="without the bucket") as told:
        Settings.read({**PLAIN, "S3_ENDPOINT": endpoint})
    assert shown in str(told.value) and "hunter2" not in str(told.value)


@contextmanager
def agreeing() -> Iterator[Proxy]:
    """An S3 server that says yes to everything, and keeps what it was asked."""
    proxy = Proxy(HOST, (HOST, 1))
    proxy.meet(Fault(times=ALWAYS, answer=(200, "")))
    try:
        yield proxy
    finally:
        proxy.stop()


@pytest.mark.parametrize("checksum", ["crc32", "none"])
def test_every_write_carries_what_the_settings_ask_for(checksum: str) -> None:
    asked = {
        "S3_REGION": "us-east-1",
        "S3_SERVER_SIDE_ENCRYPTION": "aws:kms",
        "S3_KMS_KEY_ID": "one",
        "S3_STORAGE_CLASS": "STANDARD_IA",
        "S3_CHECKSUM": checksum,
    }
    with agreeing() as proxy:
        bucket = bucket_of({**PLAIN, "S3_ENDPOINT": proxy.url, **asked})
        bucket.put("a", b"x")
        bucket.put_new("b", b"x")
        bucket.part_bytes = 10
        with pytest.raises(KeyError):
            Upload(bucket, "c").write(b"0123456789")
        bucket.close()
        assert [request.method for request in proxy.requests] == ["PUT", "PUT", "POST"]
        for request in proxy.requests:
            assert request.headers["x-amz-server-side-encryption"] == "aws:kms"
            assert request.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "one"
            assert request.headers["x-amz-storage-class"] == "STANDARD_IA"
        put, new, begin = (request.headers for request in proxy.requests)
        assert put.get("x-amz-checksum-crc32") == (_crc(b"x") if checksum == "crc32" else None)
        assert begin.get("x-amz-checksum-algorithm") == ("CRC32" if checksum == "crc32" else None)
        assert new["if-none-match"] == "*" and "if-none-match" not in put


def _crc(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def test_a_servers_certificate_needs_its_ca(versitygw: None, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s3")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert").write_bytes(pem)
    (tmp_path / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    options = ("--cert", str(tmp_path / "cert"), "--key", str(tmp_path / "key"))
    server = Server(tmp_path / "s3", HOST, *options, scheme="https")
    try:
        for bundle in (pem.decode(), str(tmp_path / "cert")):
            bucket = bucket_of(server.environment(S3_CA_BUNDLE=bundle))
            if "BEGIN" in bundle:
                bucket.client.create_bucket(Bucket=server.bucket)
            bucket.put("x", b"y")
            assert bucket.get("x") == b"y"
            bucket.close()
        stranger = bucket_of(server.environment())
        with pytest.raises(StepError, match="certificate.*Secret tiphys-s3, key caBundle") as caught:
            stranger.get("x")
        assert caught.value.exit_code == 1
        stranger.close()
    finally:
        server.stop()


@contextmanager
def giving(path: str, content: bytes, kind: str) -> Iterator[tuple[str, list[str]]]:
    """Serve one answer to whoever comes with the right token."""
    seen: list[str] = []

    class Handler(Quiet):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            seen.append(f"{self.path} {self.headers.get('Authorization', '')} {self.rfile.read(length).decode()}")
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}{path}", seen


def test_without_keys_a_workload_identity_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "token").write_text("the-pods-token")
    end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = {"AccessKeyId": "ONE", "SecretAccessKey": "s", "Token": "token-1", "Expiration": end}
    role = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
        <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>TWO</AccessKeyId>
        <SecretAccessKey>s</SecretAccessKey><SessionToken>token-2</SessionToken>
        <Expiration>{end}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
        </AssumeRoleWithWebIdentityResponse>"""
    with agreeing() as proxy:
        environment = {"S3_BUCKET": "tiphys", "S3_REGION": "us-east-1", "S3_ENDPOINT": proxy.url}
        nobody = bucket_of(environment)
        with pytest.raises(StepError, match="no credentials.*workload identity"):
            nobody.keys("")
        nobody.close()
        assert not proxy.requests
        with (
            giving("/credentials", json.dumps(keys).encode(), "application/json") as (url, seen),
            monkeypatch.context() as changed,
        ):
            changed.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
            changed.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
            bucket = bucket_of(environment)
            bucket.put("x", b"y")
            bucket.close()
            assert seen and "the-pods-token" in seen[0]
        with giving("/", role.encode(), "text/xml") as (url, seen), monkeypatch.context() as changed:
            changed.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
            changed.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/tiphys-backups")
            changed.setenv("AWS_ENDPOINT_URL_STS", url)
            bucket = bucket_of(environment)
            bucket.put("x", b"y")
            bucket.close()
            assert seen and "WebIdentityToken=the-pods-token" in seen[0]
        for number, name in ((0, "ONE"), (1, "TWO")):
            assert f"Credential={name}/" in proxy.requests[number].headers["authorization"]
            assert proxy.requests[number].headers["x-amz-security-token"] == f"token-{number + 1}"


def test_the_page_shows_every_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "s3.md").read_text()
    for variable in VARIABLES:
        assert f"| `{variable.key}` | {variable.help} |" in page, variable
