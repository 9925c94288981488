"""`tiphys backups list|show` as people call them, against a real API server and a real S3 server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from apiserver_help import ApiServer
from click.testing import CliRunner
from s3_real import own_s3

from steps.backup.manifest import File, Manifest
from steps.backup.objects import Bucket
from steps.kube import client
from steps.kube.client import Kube
from steps.mysql.definition import Asked, new_cluster
from tiphys.cli import cli
from tiphys.local.s3.credentials import Credentials
from tiphys.runs.backups import number, seconds, size

NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Home:
    settings: Path
    bucket: Bucket
    keys: Credentials
    kube: Kube


@pytest.fixture(scope="module")
def home(versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    server = ApiServer(tmp_path_factory.mktemp("api"))
    server.start()
    with own_s3(tmp_path_factory.mktemp("s3"), 85) as (bucket, keys), pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
        kube = client.connect("tiphys")
        kube.create("secrets", secret(keys.endpoint, keys))
        shop = new_cluster("shop", Asked(3, 2))
        shop["metadata"]["annotations"] = {"tiphys.dev/prune-backups": "keep-last=1 keep-daily=0 keep-weekly=0"}
        kube.create("innodbclusters", shop)
        fill(bucket)
        yield Home(server.settings.home, bucket, keys, kube)
        kube.close()
    server.stop()


def secret(endpoint: str, keys: Credentials, bucket: str = "") -> dict[str, object]:
    values = {
        "endpoint": endpoint,
        "region": keys.region,
        "bucket": bucket or keys.bucket,
        "accessKey": keys.access_key,
        "secretKey": keys.secret_key,
    }
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tiphys-s3"}, "data": data}


def fill(bucket: Bucket) -> None:
    for name, cluster, days, more in (
        ("shop-20261121-013000", "shop", 1, {}),
        ("shop-20261101-013000", "shop", 2, {"encryption": {"scheme": "AES-256-GCM", "fingerprint": "ab12"}}),
        ("shop-20261001-013000", "shop", 50, {"method": "operator"}),
        ("shop-20261001-023000", "shop", 50.1, {}),
        ("bank-20261101-013000", "bank", 20, {}),
    ):
        begin = NOW - timedelta(days=days)
        made = Manifest(
            name=name,
            cluster=cluster,
            namespace="tiphys",
            server="s",
            pod="shop-1",
            server_version="9.7.4",
            gtid_executed="u:1-5",
            begin=begin.isoformat(timespec="seconds"),
            end=(begin + timedelta(seconds=90)).isoformat(timespec="seconds"),
            tables={"shop": {"orders": 3_700_000, "customer": 12}, "empty": {}},
            keyless=["shop.log"],
            files={"@.json": File(1_234_567_890, "0" * 64)},
            **more,  # type: ignore[arg-type]
        )
        bucket.put(f"backups/{name}/tiphys.json", made.dump())
    at = (NOW - timedelta(hours=50)).isoformat()
    proof = {"verdict": "PASS", "at": at, "rtoSeconds": 41.3, "rpoSeconds": 7200.0, "run": "verify-1", "report": "r"}
    bucket.put("verifications/shop-20261101-013000/verify-1.json", json.dumps(proof).encode())
    read = {"verdict": "PASS", "at": at, "mode": "objects", "rpoSeconds": 60.0, "run": "verify-2", "report": "r"}
    bucket.put("verifications/bank-20261101-013000/verify-2.json", json.dumps(read).encode())
    bucket.put("backups/shop-20261102-013000/a@b@0.tsv.zst", b"killed")
    bucket.put("backups/shop-20261103-013000/tiphys.json", b"{")


def call(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["backups", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_list_fits_and_tells_age_proof_and_rule(home: Home) -> None:
    code, out, _ = call("list")
    lines = out.splitlines()
    assert code == 0
    assert [line for line in lines if len(line) > 80] == []
    assert lines[0].split("  ")[0] == "NAME" and "KEPT AS" in lines[0]
    assert lines[1].split() == ["shop-20261121-013000", "24h", "1.2GB", "3.7M", "tiphys", "never", "newest"]
    assert lines[2].split()[4:] == ["tiphys+key", "PASS", "2d", "41s", "newest", "PASS"]
    assert lines[3].startswith("bank-") and lines[3].split()[4:] == ["tiphys", "PASS", "2d", "files", "newest"]
    assert lines[4].split()[4:] == ["operator", "never", "month", f"{NOW - timedelta(days=50):%Y-%m}"]
    assert lines[5].endswith("none: goes")
    assert "shop-20261102-013000: 6 B" in out and "shop-20261103-013000: tiphys.json is no JSON" in out


def test_only_one_cluster_s(home: Home) -> None:
    _, out, _ = call("list", "-c", "bank")
    assert [line.split()[0] for line in out.splitlines()] == ["NAME", "bank-20261101-013000"]
    _, out, _ = call("list", "--cluster", "nobody")
    assert "no finished backup of nobody; make one: tiphys submit backup -p cluster=nobody" in out


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_programs_read_the_same(home: Home, form: str) -> None:
    _, out, _ = call("list", "-o", form)
    seen = json.loads(out) if form == "json" else yaml.safe_load(out)
    assert [one["name"] for one in seen["unfinished"]] == ["shop-20261102-013000"]
    assert list(seen["unreadable"]) == ["shop-20261103-013000"]
    one = next(one for one in seen["backups"] if one["name"] == "shop-20261101-013000")
    assert (one["bytes"], one["rows"], one["kept"]) == (1_234_567_890, 3_700_012, True)
    assert one["encryption"]["fingerprint"] == "ab12" and one["verification"]["rtoSeconds"] == 41.3


def test_one_is_shown_with_its_tables_and_what_to_do_next(home: Home) -> None:
    code, out, _ = call("show", "shop-20261101-013000")
    assert code == 0 and max(len(line) for line in out.splitlines()) <= 100
    for said in (
        "tiphys/shop (MySQL 9.7.4)",
        "1.2 GB in 1 files",
        "3,700,012",
        "scheme=AES-256-GCM fingerprint=ab12",
        "PASS 2d ago (RTO 41s, RPO 2.0h); see `tiphys report verify-1`",
        "the newest verified with PASS",
        "s3://tiphys/backups/shop-20261101-013000/",
        "3,700,000  shop.orders",
        "tiphys submit restore -p cluster=... -p backup=shop-20261101-013000 --wait",
    ):
        assert said in out, said
    _, out, _ = call("show", "bank-20261101-013000")
    assert "PASS 2d ago (only its files were read, RPO 60s); see `tiphys report verify-2`" in out
    _, out, _ = call("show", "latest", "--cluster", "shop")
    assert "never: tiphys submit verify-backup -p cluster=shop -p backup=shop-20261121-013000 --wait" in out
    _, out, _ = call("show", "latest", "--cluster", "shop", "-o", "json")
    assert json.loads(out)["name"] == "shop-20261121-013000" and json.loads(out)["tables"]["shop"]["customer"] == 12


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "there is no backup nothing; the newest are: shop-20261121-013000, "),
        ("latest", "latest of which cluster? add --cluster NAME"),
        ("shop-20261102-013000", "was never finished"),
        ("shop-20261103-013000", "cannot be read: tiphys.json is no JSON"),
    ],
)
def test_what_cannot_be_shown_is_one_line(home: Home, name: str, said: str) -> None:
    code, out, err = call("show", name)
    assert (code, out) == (1, "") and said in err and len(err.splitlines()) == 1


def test_what_is_wrong_with_s3_is_one_line_with_a_way_out(home: Home) -> None:
    """A server that is not there, a bucket that is not there, a wrong key, no Secret."""
    code, _, err = call("list", "--endpoint", "http://127.85.0.99:9")
    assert code == 1 and "kubectl port-forward" in err and len(err.splitlines()) == 1
    try:
        for wrong, said in (
            (secret(home.keys.endpoint, home.keys, "elsewhere"), "Make the bucket"),
            (secret("s3.example", home.keys), "S3_ENDPOINT is 's3.example'"),
            ({**secret(home.keys.endpoint, home.keys), "data": {}}, "S3_BUCKET is not set"),
        ):
            home.kube.delete("secrets", "tiphys-s3")
            home.kube.create("secrets", wrong)
            code, _, err = call("list")
            assert code == 1 and said in err and len(err.splitlines()) == 1, err
        home.kube.delete("secrets", "tiphys-s3")
        code, _, err = call("list")
        assert code == 1 and "no Secret tiphys-s3 in namespace tiphys" in err
    finally:
        home.kube.create("secrets", secret(home.keys.endpoint, home.keys))


def test_numbers_are_short() -> None:
    counts = [0, 999, 1000, 9949, 9999, 99_999, 999_499, 999_999, 3_700_000, 10**18]
    assert [number(one) for one in counts] == [
        "0",
        "999",
        "1.0k",
        "9.9k",
        "10k",
        "100k",
        "999k",
        "1.0M",
        "3.7M",
        "1000P",
    ]
    assert (size(5), size(1_500_000)) == ("5 B", "1.5 MB")
    assert [seconds(one) for one in (0.4, 41.2, 600, 9000)] == ["0s", "41s", "10m", "2.5h"]
