"""The objects that ask the operator for a backup, against the fields that Oracle's operator knows."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from steps.backup import operator_object, operator_run
from steps.backup.layout import prefix
from steps.backup.operator_find import BACKUP, is_foreign
from steps.backup.operator_object import Seen, dump_options, mysql_backup, secret
from steps.errors import BadParameters
from tiphys.local.operator.aws_files import BadFiles, bucket
from tiphys.local.operator.backup_run import ShellSelection
from tiphys.local.operator.backup_spec import output_name, parse_backup, parse_init
from tiphys.local.operator.spec import InvalidSpec

ENVIRONMENT = {
    "S3_BUCKET": "tiphys",
    "S3_ENDPOINT": "http://127.0.0.1:7070",
    "S3_REGION": "eu-north-1",
    "AWS_ACCESS_KEY_ID": "AKEY",
    "AWS_SECRET_ACCESS_KEY": "a/secret%key",
}
NAME = "demo-20261121-163000"


def strict(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEXT = {"type": "string"}
S3 = {**strict(bucketName=TEXT, config=TEXT, endpoint=TEXT, prefix=TEXT, profile=TEXT)}
STORAGE = strict(s3={**S3, "required": ["bucketName", "config"]})
# The name of an inline profile is read by the operator, and passes its schema as an unknown field.
PROFILE = {
    **strict(name=TEXT, dumpInstance=strict(dumpOptions={"type": "object"}, storage=STORAGE)),
    "required": ["name", "dumpInstance"],
}
MYSQL_BACKUP = strict(
    apiVersion={"const": "mysql.oracle.com/v2"},
    kind={"const": "MySQLBackup"},
    metadata={"type": "object"},
    spec={
        **strict(clusterName=TEXT, backupProfile=PROFILE, addTimestampToBackupDirectory={"type": "boolean"}),
        "required": ["clusterName"],
    },
)
"""The fields of operator 9.1.0-2.2.2 that are used, and no other."""


def made(workflow: str = "run-1", **environment: str) -> dict[str, Any]:
    settings = operator_object.access({**ENVIRONMENT, **environment})
    return mysql_backup(NAME, "demo", settings, dump_options([], [], 4), workflow, "root")


def test_a_mysqlbackup_has_only_fields_that_the_operator_knows() -> None:
    jsonschema.validate(made(), MYSQL_BACKUP)
    jsonschema.validate(made(S3_ENDPOINT="", S3_REGION="", workflow=""), MYSQL_BACKUP)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**made(), "spec": {**made()["spec"], "clustername": "demo"}}, MYSQL_BACKUP)


@pytest.mark.skipif("TIPHYS_MYSQL_CRDS" not in os.environ, reason="TIPHYS_MYSQL_CRDS names no file of Oracle's CRDs")
def test_a_mysqlbackup_fits_oracles_own_schema() -> None:
    documents = yaml.safe_load_all(Path(os.environ["TIPHYS_MYSQL_CRDS"]).read_text())
    (crd,) = [each for each in documents if each and each["metadata"]["name"] == "mysqlbackups.mysql.oracle.com"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    def closed(part: Any) -> Any:
        """Return a schema that refuses what it does not name, but where it says that anything goes."""
        if not isinstance(part, dict):
            return part
        inner = {
            key: {k: closed(v) for k, v in value.items()} if key == "properties" else closed(value)
            for key, value in part.items()
        }
        if "properties" in part and not part.get("x-kubernetes-preserve-unknown-fields"):
            inner["additionalProperties"] = False
        return inner

    spec = {**closed(schema["properties"]["spec"]), "additionalProperties": False}
    jsonschema.validate(made()["spec"], spec)
    profile = spec["properties"]["backupProfile"]["properties"]["dumpInstance"]["properties"]["storage"]
    assert set(made()["spec"]["backupProfile"]["dumpInstance"]["storage"]) <= set(profile["properties"])


def test_the_dump_lies_where_a_backup_of_that_name_lies() -> None:
    obj = made()
    spec = parse_backup(obj, {"metadata": {"name": "demo"}, "spec": {}})
    assert spec.place.folder(output_name(obj)) == prefix(NAME)
    assert obj["metadata"]["annotations"] == {operator_object.WORKFLOW: "run-1"}
    stamped = {**obj, "spec": {}, "metadata": {"name": "x", "creationTimestamp": "2026-11-21T16:30:05Z"}}
    assert output_name(stamped) == "x-20261121-163005"


def test_the_secret_is_what_the_job_reads_and_goes_with_its_object() -> None:
    obj = {**made(), "metadata": {"name": NAME, "uid": "u-1"}}
    settings = operator_object.access({**ENVIRONMENT, "AWS_SESSION_TOKEN": "token"})
    key = secret(obj, settings)
    assert key["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    place = parse_backup(made(), {"metadata": {"name": "demo"}, "spec": {}}).place
    assert key["metadata"]["name"] == place.secret
    files = {name: base64.b64decode(value).decode() for name, value in key["data"].items()}
    reached = bucket(place, files, connections=1)
    given = reached.client._get_credentials()
    assert (given.access_key, given.secret_key, given.token) == ("AKEY", "a/secret%key", "token")
    assert (reached.name, reached.client.meta.region_name) == ("tiphys", "eu-north-1")
    assert reached.client.meta.endpoint_url == ENVIRONMENT["S3_ENDPOINT"]
    reached.close()
    assert "a/secret%key" not in f"{made()} {settings}"
    with pytest.raises(BadFiles, match="no aws_access_key_id") as error:
        bucket(place, {**files, "credentials": files["credentials"].replace("[default]", "[x]")}, connections=1)
    assert "secret%key" not in str(error.value)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "method=operator needs a key"),
        ({"AWS_SECRET_ACCESS_KEY": "a\nb"}, "line break"),
        ({"S3_BUCKET": ""}, "S3_BUCKET is not set"),
    ],
)
def test_a_key_that_cannot_be_given_away_is_refused(environment: dict[str, str], says: str) -> None:
    with pytest.raises(BadParameters, match=says):
        made(**environment)


def test_the_operator_never_writes_a_plain_backup_where_encrypted_ones_are_asked_for() -> None:
    nobody: Any = None
    with pytest.raises(BadParameters, match="tiphys-backup-key"):
        operator_run.ask(nobody, nobody, nobody, nobody, {"TIPHYS_BACKUP_KEY": "x"}, include=[], exclude=[], parallel=1)


def test_what_is_wanted_becomes_options_of_mysql_shell() -> None:
    own = ["mysql_innodb_cluster_metadata", "tiphys"]
    assert dump_options([], [], 8) == {"threads": 8, "excludeSchemas": own}
    assert dump_options(["shop"], ["old", "shop.log`x"], 2) == {
        "threads": 2,
        "includeSchemas": ["shop"],
        "excludeSchemas": [*own, "old"],
        "excludeTables": ["`shop`.`log``x`"],
    }
    for include, exclude, says in (
        (["shop*"], [], r"no patterns such as 'shop\*'"),
        ([], ["shop.t?"], "no patterns"),
        (["shop.orders"], [], "whole schemas only, not 'shop.orders'"),
    ):
        with pytest.raises(BadParameters, match=says):
            dump_options(include, exclude, 1)


def test_a_status_tells_which_pod_was_read() -> None:
    status = {"status": "Completed", "source": "mysqladmin@demo-1.demo-instances.ns.svc.cluster.local:3306"}
    assert Seen.of({"status": status}).pod == "demo-1"
    assert Seen.of({}) == Seen("", "", "", "") and Seen.of({}).pod == ""


@pytest.mark.parametrize(
    ("given", "foreign"),
    [
        ("latest", False),
        ("demo-20261121-163000", False),
        ("mysqlbackup/nightly", True),
        ("s3://other-bucket/some/Folder_1/", True),
    ],
)
def test_a_reference_passes_the_forms_pattern(given: str, foreign: bool) -> None:
    assert is_foreign(BACKUP.convert(given, None, None)) is foreign


@pytest.mark.parametrize("init", [{"clone": {}}, {"dump": {"storage": {"s3": {}}}}, {"dump": {"options": {"x": 1}}}])
def test_an_initdb_that_is_not_served_names_its_field(init: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.initDB"):
        parse_init({"spec": {"initDB": init}})
    assert parse_init({"spec": {}}) is None


def test_the_stand_in_takes_what_mysql_shell_takes() -> None:
    wanted = ShellSelection(options=dump_options(["shop"], ["shop.log`x", "shop.a-b"], 2))
    assert [wanted.schema(name) for name in ("shop", "old", "tiphys")] == [True, False, False]
    assert [wanted.table("shop", name) for name in ("orders", "log`x", "a-b")] == [True, False, False]
    users = ShellSelection(options={"excludeUsers": ["mysqladmin", "'root'@'%'"]})
    assert [users.user(name) for name in ("mysql.sys", "mysqladmin", "root", "shopper")] == [False, False, False, True]
    plain = ShellSelection(options={"includeTables": ["shop.orders"]})
    assert [plain.table(*name.split(".")) for name in ("shop.orders", "shop.log", "old.log")] == [True, False, True]
