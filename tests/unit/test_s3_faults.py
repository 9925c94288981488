"""Every way in which S3 fails, met by every kind of request: tried again where that is right, else a clear error."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3_faults import ALWAYS, Fault, Proxy, Server, bucket_of, faulty_s3, retries

from steps.backup import objects, s3_errors
from steps.backup.object_stream import ObjectStream
from steps.backup.objects import AlreadyThere, Bucket, NoObject, Upload
from steps.backup.s3_errors import told
from steps.errors import StepError, Temporary

PART = 5 * 1024 * 1024
CONTENT = os.urandom(400_000)
LARGE = os.urandom(PART + 300_000)


@pytest.fixture(scope="module")
def s3(versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Proxy]]:
    with faulty_s3(tmp_path_factory.mktemp("s3"), f"127.86.{os.getpid() % 250 + 1}.2") as both:
        yield both


@pytest.fixture
def proxy(s3: tuple[Server, Proxy], monkeypatch: pytest.MonkeyPatch) -> Proxy:
    monkeypatch.setattr(s3_errors, "WAITS", (0.01, 0.02, 0.03))
    s3[1].meet()
    return s3[1]


@pytest.fixture(scope="module")
def clients(s3: tuple[Server, Proxy]) -> Iterator[dict[str, Bucket]]:
    server, proxy = s3
    changed: dict[str, dict[str, str]] = {"direct": {}, "patient": {"S3_ENDPOINT": proxy.url}}
    changed["quick"] = {"S3_ENDPOINT": proxy.url, "S3_TIMEOUT_SECONDS": "1"}
    made = {name: bucket_of(server.environment(**what)) for name, what in changed.items()}
    for bucket in made.values():
        bucket.part_bytes = PART
    yield made
    for bucket in made.values():
        bucket.close()


@pytest.fixture
def direct(clients: dict[str, Bucket]) -> Iterator[Bucket]:
    """The bucket as it is, with no proxy before it."""
    yield clients["direct"]
    made = clients["direct"]
    for key in made.keys(""):
        made.delete(key)
    for left in made.client.list_multipart_uploads(Bucket=made.name).get("Uploads", []):
        made.client.abort_multipart_upload(Bucket=made.name, Key=left["Key"], UploadId=left["UploadId"])


@pytest.fixture
def bucket(clients: dict[str, Bucket], proxy: Proxy) -> Bucket:
    return clients["patient"]


def same(one: bytes, two: bytes) -> bool:
    """Compare without what pytest would print of megabytes."""
    return hashlib.sha256(one).digest() == hashlib.sha256(two).digest()


def upload(bucket: Bucket) -> None:
    made = Upload(bucket, "x")
    for at in range(0, len(LARGE), 700_000):
        made.write(LARGE[at : at + 700_000])
    made.finish()
    assert made.size == len(LARGE)


def read(bucket: Bucket) -> None:
    stream, content = ObjectStream(bucket, "there"), b""
    while part := stream.read(100_000):
        content += part
    assert same(content, CONTENT)


def whole(bucket: Bucket) -> None:
    assert same(bucket.get("there"), CONTENT)


def listed(bucket: Bucket) -> None:
    assert bucket.keys("th") == {"there": len(CONTENT)}


OPERATIONS: dict[str, tuple[Callable[[Bucket], None], str, str]] = {
    "put": (lambda bucket: bucket.put("x", CONTENT), "PUT", "/x"),
    "put new": (lambda bucket: bucket.put_new("x", CONTENT), "PUT", "/x"),
    "begin": (upload, "POST", "uploads"),
    "part": (upload, "PUT", "partNumber=1"),
    "last part": (upload, "PUT", "partNumber=2"),
    "complete": (upload, "POST", "uploadId"),
    "get": (whole, "GET", "/there"),
    "read": (read, "GET", "/there"),
    "list": (listed, "GET", "list-type"),
    "delete": (lambda bucket: bucket.delete("there"), "DELETE", "/there"),
}
FAULTS: dict[str, Fault] = {
    "500": Fault(answer=(500, "InternalError")),
    "503": Fault(answer=(503, "SlowDown"), times=3),
    "502 of a proxy": Fault(answer=(502, "")),
    "429": Fault(answer=(429, "TooManyRequests")),
    "409": Fault(answer=(409, "ConditionalRequestConflict")),
    "timeout of the server": Fault(answer=(400, "RequestTimeout")),
    "no answer": Fault(hang=True),
    "cut at once": Fault(cut_request=0),
    "cut in the request": Fault(cut_request=100_000),
    "cut in the answer": Fault(cut_answer=40),
    "lost answer": Fault(lose_answer=True),
    "drip": Fault(drip=100_000),
}
SENT = {"put", "put new", "part", "last part"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_fault_that_passes_is_survived_with_a_line_in_the_log(
    clients: dict[str, Bucket],
    direct: Bucket,
    proxy: Proxy,
    operation: str,
    fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    act, method, path = OPERATIONS[operation]
    kind = FAULTS[fault]
    if fault == "cut in the request" and operation not in SENT:
        pytest.skip("it sends nothing")
    if fault == "cut in the answer" and (operation in SENT or operation == "delete"):
        pytest.skip("its answer has no content")
    direct.put("there", CONTENT)
    met = Fault(method, path, **{k: v for k, v in vars(kind).items() if k not in ("method", "path", "hits")})
    proxy.meet(met)
    act(clients["quick"] if kind.hang else clients["patient"])
    there = {key: hashlib.sha256(direct.get(key)).hexdigest() for key in direct.keys("")}
    expected = {} if operation == "delete" else {"there": hashlib.sha256(CONTENT).hexdigest()}
    if act is upload or operation in SENT:
        expected["x"] = hashlib.sha256(LARGE if act is upload else CONTENT).hexdigest()
    assert there == expected
    lines = retries(capsys)
    assert met.hits > 0, "the fault never came"
    # A busy machine may be too slow for the short timeout once more.
    assert len(lines) == (0 if fault == "drip" else kind.times) or (kind.hang and lines)
    assert all(line["in_seconds"] > 0 and line["reason"] and re.search("x|th", line["action"]) for line in lines)
    assert not direct.client.list_multipart_uploads(Bucket=direct.name).get("Uploads")


@pytest.mark.parametrize("fault", ["503", "no answer", "cut in the request"])
@pytest.mark.parametrize("operation", ["put", "part", "read"])
def test_a_fault_that_stays_is_given_up_after_some_tries(
    clients: dict[str, Bucket],
    direct: Bucket,
    proxy: Proxy,
    operation: str,
    fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    act, method, path = OPERATIONS[operation]
    direct.put("there", CONTENT)
    kind = {k: v for k, v in vars(FAULTS[fault]).items() if k not in ("method", "path", "hits", "times")}
    met = Fault(method, path, times=ALWAYS, **kind)
    proxy.meet(met)
    with pytest.raises(Temporary, match=rf"bucket tiphys: cannot .*(x|there).*tried {len(s3_errors.WAITS) + 1} times"):
        act(clients["quick"])
    assert met.hits == len(s3_errors.WAITS) + 1
    assert len(retries(capsys)) >= len(s3_errors.WAITS)
    assert direct.keys("") == {"there": len(CONTENT)}


def test_a_read_is_taken_up_where_it_was_cut(bucket: Bucket, direct: Bucket, proxy: Proxy) -> None:
    direct.put("there", CONTENT)
    proxy.meet(Fault("GET", cut_answer=123_456), Fault("GET", cut_answer=50_000))
    read(bucket)
    ranges = [request.headers.get("range") for request in proxy.requests]
    assert ranges == [None, "bytes=123456-", "bytes=173456-"]
    assert all(request.headers.get("if-match") for request in proxy.requests[1:])


@pytest.mark.parametrize("operation", ["put", "put new", "part", "last part"])
def test_what_is_changed_on_its_way_there_is_refused_and_sent_again(
    bucket: Bucket, direct: Bucket, proxy: Proxy, operation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    act, method, path = OPERATIONS[operation]
    met = Fault(method, path, flip_request=70_000)
    proxy.meet(met)
    act(bucket)
    assert met.hits == 2
    assert same(direct.get("x"), LARGE if act is upload else CONTENT)
    (line,) = retries(capsys)
    assert re.search("Digest|SHA256|checksum", line["reason"])


def test_a_servers_own_sum_that_differs_is_noticed() -> None:
    sent = Bucket(None, "tiphys").sum(b"x")
    objects.check_sum("x", sent, {"ChecksumCRC32": sent["ChecksumCRC32"]})
    objects.check_sum("x", sent, {})
    with pytest.raises(Temporary, match="x arrived damaged"):
        objects.check_sum("x", sent, {"ChecksumCRC32": "AAAAAA=="})


def test_an_upload_that_is_given_up_leaves_nothing(bucket: Bucket, direct: Bucket, proxy: Proxy) -> None:
    made = Upload(bucket, "x")
    made.write(LARGE)
    assert direct.client.list_multipart_uploads(Bucket="tiphys")["Uploads"]
    made.abort()
    assert not direct.client.list_multipart_uploads(Bucket="tiphys").get("Uploads") and not direct.keys("")


def test_an_upload_that_cannot_be_given_up_says_so(
    bucket: Bucket, direct: Bucket, proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Upload(bucket, "x")
    made.write(LARGE)
    proxy.meet(Fault("DELETE", answer=(500, "InternalError")))
    made.abort()
    assert '"parts left behind"' in capsys.readouterr().err
    (left,) = direct.client.list_multipart_uploads(Bucket="tiphys")["Uploads"]
    direct.client.abort_multipart_upload(Bucket="tiphys", Key="x", UploadId=left["UploadId"])


def test_an_upload_that_was_ended_unheard_is_not_ended_again(bucket: Bucket, direct: Bucket, proxy: Proxy) -> None:
    again = Fault("POST", "uploadId", times=ALWAYS, answer=(404, "NoSuchUpload"))
    proxy.meet(Fault("POST", "uploadId", lose_answer=True), again)
    upload(bucket)
    assert not again.hits and same(direct.get("x"), LARGE)


def test_an_end_mark_is_never_overwritten(bucket: Bucket, direct: Bucket, proxy: Proxy) -> None:
    direct.put("x", b"theirs")
    with pytest.raises(AlreadyThere, match="another x already"):
        bucket.put_new("x", b"ours")
    assert direct.get("x") == b"theirs"
    bucket.put_new("x", b"theirs")
    proxy.meet(Fault("PUT", "/y", answer=(501, "NotImplemented")))
    bucket.put_new("y", b"ours")
    assert direct.get("y") == b"ours"


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "secret key": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch.*Compare secretKey"),
    "access key": ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId.*Compare accessKey"),
    "bucket": ({"S3_BUCKET": "elsewhere"}, r"NoSuchBucket.*[^.]\. Make the bucket"),
}


@pytest.mark.parametrize("wrong", [*WRONG, "rights"])
@pytest.mark.parametrize("operation", ["put", "part", "read", "list", "delete"])
def test_what_another_try_cannot_mend_is_told_at_once(
    s3: tuple[Server, Proxy],
    direct: Bucket,
    proxy: Proxy,
    wrong: str,
    operation: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    direct.put("there", CONTENT)
    if wrong == "rights":
        name = f"nobody-{operation}"
        changed, said = {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": s3[0].user(name)}, "AccessDenied.*rights"
    else:
        changed, said = WRONG[wrong]
    bucket = bucket_of(s3[0].environment(**{"S3_ENDPOINT": proxy.url, **changed}))
    act = OPERATIONS[operation][0] if operation != "put" else lambda bucket: bucket.put("x", b"small")
    bucket.part_bytes = PART
    with pytest.raises(StepError, match=said) as caught:
        act(bucket)
    bucket.close()
    assert caught.value.exit_code == 1 and not isinstance(caught.value, NoObject)
    assert len(proxy.requests) == 1 and not retries(capsys)
    assert s3[0].secret not in str(caught.value)
    assert direct.keys("") == {"there": len(CONTENT)}


def test_a_server_that_is_not_there_is_temporary(s3: tuple[Server, Proxy], proxy: Proxy) -> None:
    bucket = bucket_of(s3[0].environment(S3_ENDPOINT="http://127.86.0.1:1"))
    with pytest.raises(Temporary, match="127.86.0.1:1"):
        bucket.put("x", b"")
    bucket.close()


def test_content_goes_out_in_blocks_that_each_have_the_timeout_to_themselves(
    bucket: Bucket, direct: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    send = http.client.HTTPConnection.send

    def counting(self: http.client.HTTPConnection, data: Any) -> None:
        sent.append(len(data))
        send(self, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", counting)
    proxy.meet(Fault("PUT", drip=50_000))
    upload(bucket)
    assert same(direct.get("x"), LARGE)
    assert max(sent) <= objects.SEND_BYTES < PART and sum(sent) > len(LARGE)


def test_the_proxy_itself_lets_a_refused_request_fail(bucket: Bucket, proxy: Proxy) -> None:
    with pytest.raises(ClientError):
        bucket.client.get_object(Bucket="tiphys", Key="nothing")
    with pytest.raises(NoObject):
        bucket.get("nothing")


def test_temporary_is_worth_a_retry_of_the_step(tmp_path: Path) -> None:
    assert Temporary.exit_code == 75


def policy(principal: str) -> dict[str, Any]:
    """Return the policy that docs/s3.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "s3.md").read_text()
    (text,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    made: dict[str, Any] = json.loads(text.replace("PRINCIPAL", principal).replace("BUCKET", "tiphys"))
    return made


def everything(bucket: Bucket) -> None:
    """Do what backup, restore, verification and pruning do."""
    bucket.put("x", b"x")
    bucket.put_new("y", b"y")
    upload(bucket)
    given_up = Upload(bucket, "z")
    given_up.write(LARGE)
    given_up.abort()
    assert bucket.get("y") == b"y" and set(bucket.keys("")) == {"x", "y"}
    with told("list uploads", "tiphys"):
        bucket.client.list_multipart_uploads(Bucket="tiphys")
    bucket.delete("x")


def test_the_rights_on_the_page_are_enough_and_none_is_too_many(
    s3: tuple[Server, Proxy], direct: Bucket, proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = s3[0].environment(AWS_ACCESS_KEY_ID="least", AWS_SECRET_ACCESS_KEY=s3[0].user("least"))
    bucket = bucket_of(environment)
    bucket.part_bytes = PART
    rights = policy("least")
    actions = [(number, action) for number, one in enumerate(rights["Statement"]) for action in one["Action"]]
    assert len(actions) == 6
    try:
        direct.client.put_bucket_policy(Bucket="tiphys", Policy=json.dumps(rights))
        everything(bucket)
        assert "left behind" not in capsys.readouterr().err
        direct.delete("y")
        for number, action in actions:
            less = policy("least")
            less["Statement"][number]["Action"].remove(action)
            direct.client.put_bucket_policy(Bucket="tiphys", Policy=json.dumps(less))
            try:
                everything(bucket)
            except StepError as error:
                assert "AccessDenied" in str(error), action
            else:
                assert "left behind" in capsys.readouterr().err, f"{action} is not needed"
            for key in direct.keys(""):
                direct.delete(key)
    finally:
        direct.client.delete_bucket_policy(Bucket="tiphys")
        bucket.close()
