"""What speaks against an upgrade now: the way, the configuration, the accounts, the group, the backups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from steps.drill import intent
from steps.errors import BadParameters, StepError
from steps.kube.client import Kube
from steps.mysql.connection import Credentials
from steps.mysql.restart import weights
from steps.mysql.restart_plan import SERVER_CONTAINER, in_order, risks
from steps.mysql.upgrade_checks import ACCEPTABLE, findings
from steps.mysql.upgrade_images import HELD, ROUTER_CONTAINER, tags, template_tag
from steps.mysql.upgrade_path import Version, judge, lowest, parse
from steps.mysql.upgrade_plan import Plan
from steps.mysql.upgrade_survey import server_versions, survey
from steps.mysql.waiting import Sight, look

if TYPE_CHECKING:
    from steps.backup.catalogue import Catalogue

OPERATOR_VERSION = "mysql.oracle.com/mysql-operator-version"
"""On the InnoDBCluster: the operator's image tag, MySQL's version first, such as 9.1.0-2.2.2."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        version: the target.
        backup_max_age: how old the newest good backup may be; None asks for none.
        make_backup: whether one is made where there is none that young.
        accepted: names of findings that are all right.
        measure: whether clients write meanwhile.
    """

    version: Version
    backup_max_age: timedelta | None
    make_backup: bool
    accepted: tuple[str, ...]
    measure: bool


def wanted(version: str, backup_max_age: str, make_backup: bool, accept: str | None, measure: bool) -> Wanted:
    """Return what was asked for.

    Raises:
        BadParameters: a version, an age or a name that is none.
    """
    target = parse(version)
    if target is None or str(target) != version:
        raise BadParameters(f"version: {version!r} is no version such as 9.7.4")
    names = tuple(name for name in (accept or "").split(",") if name)
    if wrong := [name for name in names if name not in ACCEPTABLE]:
        raise BadParameters(f"accept: {', '.join(wrong)} cannot be accepted; these can: {', '.join(ACCEPTABLE)}")
    return Wanted(target, age_of(backup_max_age), make_backup, names, measure)


def age_of(text: str) -> timedelta | None:
    """Return an age such as 24h, 90m or 2d; None for 0.

    Raises:
        BadParameters: it is none.
    """
    if text == "0":
        return None
    parts = re.findall(r"(\d+)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadParameters(f"backup-max-age: {text!r} is no age such as 24h or 2d; 0 asks for no backup")
    return timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))


def preflight(
    kube: Kube, cluster: str, credentials: Credentials, ask: Wanted, backups: Catalogue | str | None, workflow: str
) -> tuple[Plan, Sight]:
    """Look at everything, change nothing, and return the plan with what speaks against it.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        credentials: its administrator.
        ask: what was asked for.
        backups: what the bucket holds, or why that cannot be told; None where nobody asks for a backup.
        workflow: whose note on the cluster is our own.

    Raises:
        StepError: the servers cannot be asked; nothing can be said then.
    """
    sight = look(kube, cluster, credentials)
    against = risks(sight.topology, sight.servers)
    noted = intent.read(sight.cluster)
    if noted is not None and noted.workflow != workflow:
        against.append(intent.another_drill(cluster, noted))
    if ask.measure and not sight.ready_routers:
        against.append("no Router is ready, through which clients could write: measure=false does without them")
    if not sight.topology.members:
        raise StepError(f"Nothing was changed: {'; '.join(against)}")
    versions = server_versions(sight.topology, credentials)
    images = tags(sight.servers, SERVER_CONTAINER)
    old = _old(kube, sight, ask.version)
    # What the images say counts, too: a pod that comes back gets what its image is.
    known = [*versions.values(), *(one for tag in images.values() if (one := parse(tag)) is not None)]
    path = judge(lowest(known), ask.version)
    highest = max(versions.values())
    if not path.refused and highest > ask.version:
        path = judge(highest, ask.version)
    against += [path.refused] if path.refused else []
    against += _operator(sight, ask.version)
    noticed = findings(survey(kube, sight.cluster, sight.topology, credentials), path.current, ask.version)
    if not path.refused:
        against += [str(one) for one in noticed if one.stops and one.name not in ask.accepted]
    left = [pod for pod, tag in images.items() if tag != str(ask.version)]
    left += [pod for pod, version in versions.items() if version != ask.version and pod not in left]
    order = in_order(left, sight.topology, weights(sight.topology, credentials))
    routers = tags(sight.routers, ROUTER_CONTAINER)
    seen, missing = _backup(cluster, kube.namespace, ask, backups)
    if missing and not ask.make_backup and order:
        against.append(missing)
    plan = Plan(
        cluster,
        path,
        versions,
        images,
        tuple(order),
        sight.topology.primary.pod if sight.topology.primary else "",
        int((sight.cluster["spec"].get("router") or {}).get("instances", 0)),
        tuple(f"{pod} {tag}" for pod, tag in routers.items() if tag != str(ask.version)),
        old,
        missing or seen,
        bool(missing) and ask.make_backup and bool(order),
        tuple(noticed),
        tuple(against),
        _warnings(sight, versions, images, ask.version),
        HELD in ((kube.get("statefulsets", cluster)["metadata"].get("annotations")) or {}),
    )
    return plan, sight


def _old(kube: Kube, sight: Sight, target: Version) -> str:
    """Return the version that the cluster goes back to: what its spec says, or else its images."""
    said = str(sight.cluster["spec"].get("version") or "")
    if said and said != str(target):
        return said
    servers = kube.find("statefulsets", str(sight.cluster["metadata"]["name"]))
    tagged = template_tag(servers, SERVER_CONTAINER)
    if tagged and tagged != str(target):
        return tagged
    # A run that stopped half way: what the others still run.
    others = sorted(set(tags(sight.servers, SERVER_CONTAINER).values()) - {str(target), ""})
    return others[0] if others else said or tagged


def _operator(sight: Sight, target: Version) -> list[str]:
    tag = str((sight.cluster["metadata"].get("annotations") or {}).get(OPERATOR_VERSION) or "")
    newest = parse(tag)
    if newest is not None and target > newest:
        return [
            f"the operator is {tag} and takes no version newer than {newest}: upgrade the operator to {target} or "
            "newer first"
        ]
    return []


def _backup(cluster: str, namespace: str, ask: Wanted, backups: Catalogue | str | None) -> tuple[str, str]:
    """Return what is known of a backup that is young enough, or what is missing."""
    if ask.backup_max_age is None or backups is None:
        return "none was asked for (backup-max-age=0)", ""
    limit = _hours(ask.backup_max_age)
    if isinstance(backups, str):
        return "", f"whether there is a backup younger than {limit} cannot be told: {backups}"
    good = [one for one in backups.latest(cluster, namespace) if one.verdict != "FAIL" and not one.selection]
    run = "run backup, or give make-backup=true"
    if not good:
        return "", f"there is no good backup of all of {cluster}: {run}"
    newest = good[0]
    age = backups.at - newest.begin
    if age > ask.backup_max_age:
        return "", f"the newest good backup {newest.name} is {_hours(age)} old, and at most {limit} is asked for: {run}"
    return f"{newest.name}, {_hours(age)} old" + (", verified" if newest.verdict == "PASS" else ""), ""


def _hours(age: timedelta) -> str:
    seconds = age.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _warnings(sight: Sight, versions: dict[str, Version], images: dict[str, str], target: Version) -> tuple[str, ...]:
    told = []
    apart = sorted(pod for pod, tag in images.items() if pod in versions and parse(tag) not in (None, versions[pod]))
    if apart:
        each = (f"{pod} has image {images[pod]} and says it is {versions[pod]}" for pod in apart)
        told.append(f"image and server differ: {', '.join(each)}")
    routers = tags(sight.routers, ROUTER_CONTAINER)
    if older := sorted({tag for tag in routers.values() if (one := parse(tag)) is not None and one > target}):
        told.append(f"Routers run {', '.join(older)}, newer than {target}: they are set to {target}, too")
    return tuple(told)
