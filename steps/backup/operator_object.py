"""The objects by which the operator is asked for a backup: a MySQLBackup, and the Secret of its S3 keys. Pure.

The fields are those of Oracle's `mysql.oracle.com/v2` (operator 9.1.0-2.2.2). Two things its schema does not tell: an
inline profile needs a `name`, and with `addTimestampToBackupDirectory: false` the dump's folder has the object's name.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.backup.dump_catalog import SYSTEM_USERS
from steps.backup.layout import FOLDER
from steps.backup.s3_settings import Settings
from steps.errors import BadParameters
from steps.kube.client import CLUSTER_LABEL, Object
from steps.mysql.connection import quoted

API = "mysql.oracle.com/v2"
PLURAL = "mysqlbackups"
WORKFLOW = "tiphys.dev/workflow"
"""Annotation: the run that asked; a step that is started again finds its object by it."""
MANAGED = {"app.kubernetes.io/managed-by": "tiphys"}
PROFILE = "default"


def access(environment: Mapping[str, str]) -> Settings:
    """Return how the bucket is reached, with a key that can be given to the operator.

    Raises:
        BadParameters: there is no such key, or a setting is wrong.
    """
    settings = Settings.read(environment)
    if not settings.access_key or not settings.secret_key:
        raise BadParameters(
            "method=operator needs a key in the Secret tiphys-s3 (accessKey, secretKey): the operator's job takes it "
            "from a Secret, and this run's workload identity is not its own. Add one, or use method=tiphys."
        )
    if {"\n", "\r"} & set("".join(filter(None, (settings.access_key, settings.secret_key, settings.token)))):
        raise BadParameters("A key in the Secret tiphys-s3 has a line break in it: make the Secret again without.")
    return settings


def secret_name(backup: str) -> str:
    """Return the name of a MySQLBackup's Secret."""
    return f"{backup}-s3"


def secret(backup: Object, settings: Settings) -> Object:
    """Return the Secret whose keys become the files of the job's ``~/.aws``; it goes with its MySQLBackup."""
    key = {
        "aws_access_key_id": settings.access_key,
        "aws_secret_access_key": settings.secret_key,
        "aws_session_token": settings.token,
    }
    values = {"config": _section({"region": settings.region}), "credentials": _section(key)}
    meta = backup["metadata"]
    owner = {"apiVersion": API, "kind": "MySQLBackup", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": secret_name(meta["name"]), "labels": MANAGED, "ownerReferences": [owner]},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def _section(values: Mapping[str, str | None]) -> str:
    return f"[{PROFILE}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items() if value)


def mysql_backup(
    name: str, cluster: str, settings: Settings, options: Mapping[str, Any], workflow: str, administrator: str
) -> Object:
    """Return the MySQLBackup whose dump lies where a backup of this name lies.

    Args:
        name: of the backup.
        cluster: that is backed up.
        settings: of the bucket.
        options: of the dump, as `dump_options` gives them.
        workflow: that asks; may be empty.
        administrator: account that every cluster has of its own, left out like the operator's.
    """
    # Accounts that servers make with numbers in their names cannot be named here; a restore leaves them out.
    users = [user for user in (*SYSTEM_USERS, administrator) if "*" not in user]
    s3 = {"bucketName": settings.bucket, "prefix": FOLDER, "config": secret_name(name), "profile": PROFILE}
    if settings.endpoint:
        s3["endpoint"] = settings.endpoint
    dump = {"dumpOptions": {**options, "excludeUsers": users}, "storage": {"s3": s3}}
    return {
        "apiVersion": API,
        "kind": "MySQLBackup",
        "metadata": {
            "name": name,
            "labels": {CLUSTER_LABEL: cluster, **MANAGED},
            "annotations": {WORKFLOW: workflow} if workflow else {},
        },
        "spec": {
            "clusterName": cluster,
            "addTimestampToBackupDirectory": False,
            "backupProfile": {"name": name, "dumpInstance": dump},
        },
    }


def dump_options(include: Sequence[str], exclude: Sequence[str], threads: int) -> dict[str, Any]:
    """Return options of MySQL Shell's dumpInstance() for what is wanted.

    Raises:
        BadParameters: it takes names only, no patterns, and whole schemas to include.
    """
    if patterns := [each for each in (*include, *exclude) if set("*?[") & set(each)]:
        raise BadParameters(
            f"method=operator takes names of schemas and tables, no patterns such as {patterns[0]!r}: name them, or "
            "use method=tiphys."
        )
    if tables := [each for each in include if "." in each]:
        raise BadParameters(
            f"method=operator includes whole schemas only, not {tables[0]!r}: name the schema, exclude its other "
            "tables, or use method=tiphys."
        )
    # Every cluster has its own of these, and a restore leaves them out. MySQL Shell would also describe a schema
    # `tiphys` in the very file that is our manifest.
    unwanted = ["mysql_innodb_cluster_metadata", "tiphys", *(each for each in exclude if "." not in each)]
    made: dict[str, Any] = {"threads": threads, "excludeSchemas": unwanted}
    if include:
        made["includeSchemas"] = list(include)
    if left_out := [".".join(map(quoted, each.split(".", 1))) for each in exclude if "." in each]:
        made["excludeTables"] = left_out
    return made


@dataclass(frozen=True)
class Seen:
    """What a MySQLBackup's status says.

    Attributes:
        status: "" until its job runs, then Running, then Completed or Error.
        message: why, with Error.
        output: name of the dump's folder below its profile's prefix.
        source: the server that was read, ``user@host:port``.
    """

    status: str
    message: str
    output: str
    source: str

    @classmethod
    def of(cls, backup: Object) -> Seen:
        """Read it from the object."""
        status = backup.get("status") or {}
        return cls(*(str(status.get(key) or "") for key in ("status", "message", "output", "source")))

    @property
    def pod(self) -> str:
        """Name of the pod that was read; empty where the source does not tell."""
        return self.source.rpartition("@")[2].partition(":")[0].partition(".")[0]
