"""What the sidecar does for `initDB`: fills a server from S3, again after a kill, and never over what is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mysql_group import ROOT, mysql_group
from s3_real import own_s3

from steps.backup.objects import Bucket
from steps.errors import Refused, StepError
from steps.mysql.connection import query, session
from tiphys.local.operator import init_db
from tiphys.local.operator.accounts import Account
from tiphys.local.operator.backup_spec import InitSpec, Place
from tiphys.local.s3.credentials import Credentials

pytestmark = pytest.mark.usefixtures("versitygw")

ADDRESS = f"127.89.{os.getpid() % 250 + 1}.1"
VECTOR = Path(__file__).parents[1] / "data" / "mysqlsh-dump"
ADMIN = Account(ROOT.user, ROOT.password)
ROWS = 9100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]):
        yield ADDRESS


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bucket, Credentials]]:
    with own_s3(tmp_path_factory.mktemp("s3"), 89) as (bucket, keys):
        for path in VECTOR.iterdir():
            bucket.put(f"dumps/shop/{path.name}", path.read_bytes())
        # MySQL Shell would not know it; one that is damaged must not matter.
        bucket.put("dumps/shop/tiphys.json", b"{}")
        yield bucket, keys


@pytest.fixture
def connection(server: str) -> Iterator[Any]:
    with session(server, 3306, ROOT) as opened:
        yield opened
        query(opened, "SET GLOBAL super_read_only = OFF")
        for schema in ("shop", "tiphys"):
            query(opened, f"DROP SCHEMA IF EXISTS {schema}")
        query(opened, "DROP USER IF EXISTS shopper")


def fill(keys: Credentials, prefix: str = "dumps/shop", secret: str = "", **options: Any) -> int:
    place = Place(keys.bucket, prefix, "their-s3", "default", keys.endpoint)
    key = f"aws_access_key_id = {keys.access_key}\naws_secret_access_key = {secret or keys.secret_key}\n"
    return init_db.fill(ADDRESS, InitSpec(place, options), {"credentials": f"[default]\n{key}"}, ADMIN)


def users(connection: Any) -> list[tuple[Any, ...]]:
    return query(connection, "SELECT user FROM mysql.user WHERE user = 'shopper'")


def test_a_sidecar_that_is_started_again_loads_nothing_twice(connection: Any, s3: tuple[Bucket, Credentials]) -> None:
    assert fill(s3[1]) == ROWS
    assert query(connection, "SELECT @@super_read_only") == [(1,)], "until the group says otherwise"
    assert fill(s3[1]) == ROWS
    total = "SELECT SUM(n) FROM (SELECT COUNT(*) n FROM shop.{} UNION ALL SELECT COUNT(*) FROM shop.{}) both_of_them"
    assert query(connection, total.format("customer", "orders")) == [(6000,)]
    assert query(connection, "CHECKSUM TABLE shop.customer") == [("shop.customer", 2820272405)]
    assert users(connection) == []


def test_accounts_come_where_they_are_asked_for(connection: Any, s3: tuple[Bucket, Credentials]) -> None:
    assert fill(s3[1], loadUsers=True) == ROWS
    assert users(connection) == [("shopper",)]


def test_what_is_there_is_never_overwritten(connection: Any, s3: tuple[Bucket, Credentials]) -> None:
    query(connection, "CREATE SCHEMA shop")
    with pytest.raises(Refused, match="has shop already"):
        fill(s3[1])


@pytest.mark.parametrize(
    ("wrong", "says"), [({"prefix": "dumps/none"}, "no backup at all"), ({"secret": "x"}, "SignatureDoesNotMatch|403")]
)
def test_a_dump_that_cannot_be_had_says_why(
    connection: Any, s3: tuple[Bucket, Credentials], wrong: dict[str, str], says: str
) -> None:
    with pytest.raises(StepError, match=says):
        fill(s3[1], **wrong)
