"""Cares for MySQLBackups: a pod for each, and an end for those whose pod died without a word."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tiphys.local.client import AlreadyExists, Informer, Kube, NotFound, WorkQueue, reconcile_loop
from tiphys.local.operator import names
from tiphys.local.operator.backup_spec import BackupSpec, output_name, parse_backup
from tiphys.local.operator.dressing import dressed
from tiphys.local.operator.publish import now
from tiphys.local.operator.spec import TESTED, InvalidSpec, recorded_version

log = logging.getLogger(__name__)

AWS_FOLDER = "/mysqlsh/.aws"
"""Where Oracle's image has its home, and so the folder of an S3 client's files."""

ENDED = ("Completed", "Error")


class Backups:
    """Follows all MySQLBackups."""

    def __init__(self, kube: Kube, backups: Informer, pods: Informer) -> None:
        self._kube, self._backups, self._pods = kube, backups, pods
        self._queue = WorkQueue()

    async def run(self) -> None:
        """Care for them until cancelled."""
        self._backups.on_change(lambda _change, obj: self._add(obj["metadata"], obj["metadata"]["name"]))
        self._pods.on_change(self._pod_changed)
        await self._pods.synced()
        await self._backups.synced()
        for namespace, name in self._backups.objects:
            self._queue.add((namespace, name))
        await reconcile_loop(self._queue, self._look)

    def _add(self, meta: Mapping[str, Any], name: str) -> None:
        self._queue.add((str(meta["namespace"]), name))

    def _pod_changed(self, _change: str, pod: dict[str, Any]) -> None:
        if name := (pod["metadata"].get("labels") or {}).get(names.LABEL_BACKUP):
            self._add(pod["metadata"], str(name))

    async def _look(self, key: tuple[str, str]) -> float | None:
        obj = self._backups.objects.get(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        if (obj.get("status") or {}).get("status") in ENDED:
            return None
        output = output_name(obj)
        pod = self._pods.objects.get((key[0], output))
        if pod is None:
            await self._begin(obj, output)
            return None
        if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
            # Its own last words come before its end: look at the object itself, not at what was seen of it.
            fresh = await self._kube.get("mysqlbackups", key[1], key[0])
            if (fresh.get("status") or {}).get("status") not in ENDED:
                await self._fail(fresh, f"pod {output} ended without a result: {_ended(pod)}. See its log.")
        return None

    async def _begin(self, obj: dict[str, Any], output: str) -> None:
        namespace = obj["metadata"]["namespace"]
        name = str((obj.get("spec") or {}).get("clusterName") or "")
        try:
            try:
                cluster = await self._kube.get("innodbclusters", name, namespace)
            except NotFound:
                raise InvalidSpec(f"spec.clusterName: there is no InnoDBCluster {name!r} in {namespace}") from None
            spec = parse_backup(obj, cluster)
        except InvalidSpec as error:
            await self._fail(obj, str(error))
            return
        try:
            await self._kube.create("pods", backup_pod(obj, spec, cluster))
        except AlreadyExists:
            return
        await self._kube.event(obj, "BackupStarted", f"Pod {output} makes the dump", component=names.COMPONENT)

    async def _fail(self, obj: dict[str, Any], message: str) -> None:
        meta = obj["metadata"]
        log.info("backup failed", extra={"backup": meta["name"], "error": message})
        status = {"status": "Error", "message": message, "completionTime": now(), "output": output_name(obj)}
        await self._kube.patch("mysqlbackups", meta["name"], {"status": status}, meta["namespace"], "status")
        await self._kube.event(obj, "BackupFailed", message, "Warning", names.COMPONENT)


def _ended(pod: Mapping[str, Any]) -> str:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        if ended := (container.get("state") or {}).get("terminated"):
            return f"exit code {ended.get('exitCode')}"
    return str((pod.get("status") or {}).get("reason") or "no container ran")


def backup_pod(obj: Mapping[str, Any], spec: BackupSpec, cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod that makes the dump.

    Oracle's operator makes a Job, whose pod this is, with the label that Kubernetes gives it; the local platform has no
    Jobs.
    """
    meta = obj["metadata"]
    owner = {"apiVersion": "mysql.oracle.com/v2", "kind": "MySQLBackup", "name": meta["name"], "uid": meta["uid"]}
    profile = obj["spec"].get("backupProfile") or {}
    version = (cluster.get("spec") or {}).get("version") or recorded_version(cluster) or TESTED
    labels = {
        "tier": "mysql",
        names.LABEL_CLUSTER: spec.cluster,
        names.LABEL_BACKUP: meta["name"],
        "job-name": spec.output,
        "app.kubernetes.io/name": "mysql-innodbcluster-backup-task",
        "app.kubernetes.io/managed-by": "mysql-operator",
    }
    container = {
        "name": "operator-backup-job",
        "image": f"{names.OPERATOR_IMAGE}:{version}",
        "command": ["backup", meta["name"]],
        "volumeMounts": [{"name": "s3-config-volume", "mountPath": AWS_FOLDER, "readOnly": True}],
    }
    pod = {
        "serviceAccountName": f"{spec.cluster}-sidecar-sa",
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 60,
        "containers": [container],
        "volumes": [{"name": "s3-config-volume", "secret": {"secretName": spec.place.secret}}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": spec.output,
            "namespace": meta["namespace"],
            "labels": {**labels, **(profile.get("podLabels") or {})},
            "annotations": profile.get("podAnnotations") or {},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": dressed(pod),
    }
