"""What is to be restored: the options that say it, and where it lies in S3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from steps.backup.catalogue import find
from steps.backup.layout import prefix
from steps.backup.load_scope import parse_tables
from steps.backup.objects import Bucket
from steps.backup.operator_find import BACKUP, find_foreign, is_foreign
from steps.backup.source import S3Source
from steps.declare import option
from steps.errors import BadParameters
from steps.kube.client import Kube
from steps.parameters import CLUSTER_NAME, Text

SCHEMA_NAMES = Text("names of schemas, separated by commas", "A-Za-z0-9_,$-", 2000)
TABLE_NAMES = Text("schema.table, several separated by commas", "A-Za-z0-9_,.$-", 2000)

backup = option(
    "--backup",
    required=True,
    type=BACKUP,
    help="Name of the backup; latest: the newest finished one of the cluster; or a dump that others made: "
    "mysqlbackup/NAME (the operator's object), s3://BUCKET/FOLDER/.",
)
from_cluster = option(
    "--from-cluster",
    type=CLUSTER_NAME,
    default=None,
    help="Whose newest backup is meant by backup=latest. Empty means the cluster that is restored into.",
)
schemas = option(
    "--schemas",
    type=SCHEMA_NAMES,
    default=None,
    help="Schemas to restore, separated by commas. Empty (and no tables) restores all, with accounts and grants.",
)
tables = option(
    "--tables",
    type=TABLE_NAMES,
    default=None,
    help="Single tables to restore (schema.table), separated by commas, with their triggers and nothing else.",
)
invisible_key = option(
    "--invisible-key",
    type=click.BOOL,
    default=False,
    help="Give tables without a key an invisible primary key. Without this, a backup that has such tables is refused.",
)


@dataclass(frozen=True)
class Wanted:
    """What is to be restored.

    Attributes:
        source: where it lies.
        name: of the backup: its folder's name where it is one of ours, else as it was asked for.
        ours: whether it lies below this bucket's `backups/`.
        schemas: chosen ones; all where these and `tables` are empty.
        tables: chosen ones, as schema and table.
    """

    source: S3Source
    name: str
    ours: bool
    schemas: list[str]
    tables: Sequence[tuple[str, str]]


def check(backup: str, from_cluster: str | None) -> None:
    """Refuse options that contradict each other.

    Raises:
        BadParameters: they do.
    """
    if from_cluster and backup != "latest":
        raise BadParameters(f"from-cluster={from_cluster} goes with backup=latest only, and backup is {backup}")


def look_up(
    kube: Kube,
    bucket: Bucket,
    *,
    cluster: str,
    backup: str,
    from_cluster: str | None,
    schemas: str | None,
    tables: str | None,
) -> Wanted:
    """Return where a backup lies, and what of it is chosen.

    Raises:
        BadParameters: a table is not written as schema.table.
        StepError: there is no such backup.
    """
    chosen = parse_tables(_listed_in(tables))
    if is_foreign(backup):
        source = find_foreign(kube, bucket, backup)
    else:
        source = find(bucket, backup, from_cluster or cluster, kube.namespace)
    folder = source.prefix.rstrip("/").rpartition("/")[2]
    ours = (source.bucket.name, source.prefix) == (bucket.name, prefix(folder))
    return Wanted(source, folder if ours else backup, ours, _listed_in(schemas), chosen)


def _listed_in(text: str | None) -> list[str]:
    return [each for each in (text or "").split(",") if each]
