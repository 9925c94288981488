"""What `kubectl get` shows of each kind, by the kind's plural name; the name column comes before these.

Columns are written ``Name=value`` or ``Name=value:type``; ``*Name`` is shown by ``-o wide`` only. A value is a
dotted path into the object, or the name of a function of `tiphys.local.apiserver.cells`.
"""

from __future__ import annotations

AGE = "Age=.metadata.creationTimestamp:date"

COLUMNS: dict[str, tuple[str, ...]] = {
    "namespaces": (
        "Status=.status.phase",
        AGE,
    ),
    "nodes": (
        "Status=node_status",
        "Roles=node_roles",
        AGE,
        "Version=.status.nodeInfo.kubeletVersion",
        "*Internal-IP=node_address",
    ),
    "pods": (
        "Ready=pod_ready",
        "Status=pod_status",
        "Restarts=pod_restarts",
        AGE,
        "*IP=.status.podIP",
        "*Node=.spec.nodeName",
        "*Nominated Node=.status.nominatedNodeName",
        "*Readiness Gates=pod_gates",
    ),
    "services": (
        "Type=.spec.type",
        "Cluster-IP=.spec.clusterIP",
        "External-IP=.spec.externalName",
        "Port(s)=service_ports",
        AGE,
        "*Selector=selector",
    ),
    "endpoints": (
        "Endpoints=endpoint_addresses",
        AGE,
    ),
    "secrets": (
        "Type=.type",
        "Data=data_count:integer",
        AGE,
    ),
    "configmaps": (
        "Data=data_count:integer",
        AGE,
    ),
    "events": (
        "Last Seen=event_seen:date",
        "Type=.type",
        "Reason=.reason",
        "Object=event_object",
        "*Source=.source.component",
        "Message=.message",
    ),
    "persistentvolumeclaims": (
        "Status=.status.phase",
        "Volume=.spec.volumeName",
        "Capacity=.status.capacity.storage",
        "Access Modes=access_modes",
        "StorageClass=.spec.storageClassName",
        AGE,
    ),
    "persistentvolumes": (
        "Capacity=.spec.capacity.storage",
        "Access Modes=access_modes",
        "Reclaim Policy=.spec.persistentVolumeReclaimPolicy",
        "Status=.status.phase",
        "Claim=volume_claim",
        AGE,
    ),
    "statefulsets": (
        "Ready=replicas_ready",
        AGE,
        "*Containers=container_names",
        "*Images=images",
    ),
    "deployments": (
        "Ready=replicas_ready",
        "Up-to-date=.status.updatedReplicas:integer",
        "Available=.status.availableReplicas:integer",
        AGE,
        "*Containers=container_names",
        "*Images=images",
        "*Selector=selector",
    ),
    "replicasets": (
        "Desired=.spec.replicas:integer",
        "Current=.status.replicas:integer",
        "Ready=.status.readyReplicas:integer",
        AGE,
        "*Containers=container_names",
        "*Images=images",
        "*Selector=selector",
    ),
    "controllerrevisions": (
        "Revision=.revision:integer",
        AGE,
    ),
    "poddisruptionbudgets": (
        "Min Available=.spec.minAvailable",
        "Max Unavailable=.spec.maxUnavailable",
        "Allowed Disruptions=.status.disruptionsAllowed:integer",
        AGE,
    ),
    "leases": (
        "Holder=.spec.holderIdentity",
        AGE,
    ),
    "storageclasses": (
        "Provisioner=.provisioner",
        AGE,
    ),
    "workflows": (
        "Status=.status.phase",
        "Age=.status.startedAt:date",
        "Message=.status.message",
    ),
    "cronworkflows": (
        "Schedules=cron_schedules",
        "Suspend=cron_suspend",
        "Last Run=.status.lastScheduledTime:date",
        AGE,
    ),
    "innodbclusters": (
        "Status=.status.cluster.status",
        "Online=.status.cluster.onlineInstances:integer",
        "Instances=.spec.instances:integer",
        "Routers=.spec.router.instances:integer",
        "Type=.status.cluster.type",
        AGE,
    ),
    "mysqlbackups": (
        "Cluster=.spec.clusterName",
        "Status=.status.status",
        "Output=.status.output",
        AGE,
    ),
    "customresourcedefinitions": ("Created At=.metadata.creationTimestamp",),
}
"""Columns of the kinds that show more than their age."""
