"""The way back from an upgrade that did not end well, from its note on the cluster alone; it may be walked twice.

The version is set back first. A pod that does not come up with the new one has to be deleted by hand: no controller
does that for a StatefulSet. Members that run the new version go back one by one as in a rolling restart, where MySQL
lets them; where it does not (another series has changed their files) nothing is forced, and the group serves on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from steps.drill.intent import Intent, read_drill
from steps.errors import Refused, StepError, Temporary, TimedOut
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, NotFound
from steps.kube.pods import is_ready, name_of
from steps.log import log
from steps.mysql.connection import Credentials, root_credentials
from steps.mysql.restart import restart
from steps.mysql.restart_plan import SERVER_CONTAINER, Method, Wish, life_of
from steps.mysql.upgrade_images import ROUTER_CONTAINER, has_run, release, tag, tags, template_tag
from steps.mysql.upgrade_path import Back
from steps.mysql.waiting import Sight, look, wait_until

NAME = "upgrade-cluster"
"""Also what stands in its note on the cluster in place of a fault."""
OPERATOR_SECONDS = 120.0
"""How long the operator may take to bring a version into the pod templates."""
MEMBER_SECONDS = 720.0
"""How long a member that was made anew may take until it is back."""
ROUTERS_SECONDS = 300.0


class Stays(Refused):
    """There is no way back in place: members have changed their data files already, or the strategy is not held."""


def set_version(kube: Kube, cluster: str, version: str, router: str | None) -> None:
    """Ask the operator for a version.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        version: of servers and Routers.
        router: what ``spec.router.version`` is to be, where the cluster has one; None where it has none.
    """
    spec: dict[str, Any] = {"version": version}
    if router is not None:
        spec["router"] = {"version": router}
    kube.patch("innodbclusters", cluster, {"spec": spec})


def wait_for_operator(kube: Kube, cluster: str, version: str, router: str | None, seconds: float) -> None:
    """Wait until the pod templates have the versions.

    Raises:
        TimedOut: the operator did not bring them there.
    """
    wanted = {"statefulsets": version, "deployments": router if router is not None else version}
    limit = time.monotonic() + seconds
    while True:
        servers = kube.get("statefulsets", cluster)
        routers = kube.find("deployments", f"{cluster}-router")
        seen = {"statefulsets": template_tag(servers, SERVER_CONTAINER)}
        if routers is not None:
            seen["deployments"] = template_tag(routers, ROUTER_CONTAINER)
        if all(seen[kind] == wanted[kind] for kind in seen):
            return
        if time.monotonic() > limit:
            told = ", ".join(f"{kind} {cluster} {have or '(no tag)'}" for kind, have in seen.items())
            raise TimedOut(
                f"The operator did not take spec.version={version} within {seconds:.0f} s: the pod templates have "
                f"{told}. Its events say why: kubectl describe innodbcluster {cluster}. An operator takes no version "
                "that is newer than itself: upgrade the operator first."
            )
        time.sleep(0.5)


def wait_for_routers(
    kube: Kube,
    cluster: str,
    credentials: Credentials,
    version: str,
    *,
    seconds: float,
    check: Callable[[Sight], None] = lambda sight: None,
) -> None:
    """Wait until every Router has the version and is ready.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        credentials: its administrator.
        version: tag of the Routers' image.
        seconds: how long it may take.
        check: called with each look; its error ends the waiting.

    Raises:
        TimedOut: not in time.
    """

    def lacks(sight: Sight) -> str:
        check(sight)
        wanted = int((sight.cluster["spec"].get("router") or {}).get("instances", 0))
        mine = [pod for pod in sight.routers if tag(pod["spec"], ROUTER_CONTAINER) == version and is_ready(pod)]
        if len(mine) == len(sight.routers) >= wanted:
            return ""
        return f"Routers of version {version} ready: {len(mine)} of {wanted} ({len(sight.routers)} pods)"

    goal, deadline = f"{cluster}: Routers of version {version}", time.monotonic() + seconds
    wait_until(kube, cluster, credentials, lacks, what=goal, deadline=deadline)


def go_back(kube: Kube, cluster: str, noted: Intent) -> list[str]:
    """Take a cluster back to the version that it had before an upgrade; return what was done, for people.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster; one that is gone needs nothing.
        noted: the upgrade's note.

    Raises:
        Stays: there is no way back in place; the message says what can be done.
        Temporary: not now; try again.
        StepError: a member does not come back with its old version either.
    """
    found = kube.find("innodbclusters", cluster)
    before = noted.before
    if found is None or not before.get("version") or found["metadata"].get("deletionTimestamp"):
        return []
    old, router = str(before["version"]), before.get("router")
    now = str(found["spec"].get("version") or "")
    if now not in ("", old, str(before.get("target"))):
        raise Stays(f"spec.version of {cluster} is {now}, which is not this run's doing: it was left as it is.")
    credentials = root_credentials(kube, found)
    done = []
    _may_go_back(kube.servers(cluster), before)
    if now == str(before.get("target")) != old:
        set_version(kube, cluster, old, router)
        done.append(f"spec.version set back to {old}")
        log("version-set-back", cluster=cluster, version=old)
    wait_for_operator(kube, cluster, old, router, OPERATOR_SECONDS)
    done += _delete_broken(kube, look(kube, cluster, credentials), old)
    done += _servers_back(kube, cluster, credentials, noted, old)
    wait_for_routers(kube, cluster, credentials, router or old, seconds=ROUTERS_SECONDS)
    # Last: from now on the StatefulSet replaces by itself what is not of its template, and nothing is any more.
    release(kube, cluster)
    log("went-back", cluster=cluster, version=old)
    return done


def _may_go_back(servers: list[Object], before: Mapping[str, Any]) -> None:
    if before.get("back", Back.IN_PLACE) == Back.IN_PLACE:
        return
    target = str(before.get("target"))
    changed = [name_of(pod) for pod in servers if tag(pod["spec"], SERVER_CONTAINER) == target and has_run(pod)]
    if changed:
        raise Stays(
            f"{', '.join(changed)} has run {target} already, and {before['version']} does not start on data files of "
            f"another series, so nothing was set back: the group serves on with both versions, and the StatefulSet "
            f"replaces no pod by itself (update strategy OnDelete). Either mend what is wrong and run {NAME} with "
            f"version={target} again, which goes on where it stopped; or follow the plan for going back that the run "
            "printed."
        )


def _delete_broken(kube: Kube, sight: Sight, old: str) -> list[str]:
    """Delete pods of another version that are not ready: they would stay as they are for ever.

    Of those that vote in the group all the same none goes without which the others would have no quorum.
    """
    done = []
    voting = {member.pod for member in sight.topology.members if member.state == "ONLINE"}
    for pod in sorted(sight.servers, key=lambda one: name_of(one) in voting):
        name, has = name_of(pod), tag(pod["spec"], SERVER_CONTAINER)
        if has == old or is_ready(pod):
            continue
        if name in voting and 1 < sight.topology.expected >= 2 * (len(voting) - 1):
            log("left-alone", pod=name, why=f"it is not ready, but the group needs its vote: {sorted(voting)}")
            continue
        try:
            kube.delete("pods", name, uid=str(pod["metadata"]["uid"]))
        except (NotFound, Conflict):
            continue
        voting.discard(name)
        log("deleted", pod=name, why=f"it did not come up with {has}")
        done.append(f"pod {name} deleted, which did not come up")
    return done


def _servers_back(kube: Kube, cluster: str, credentials: Credentials, noted: Intent, old: str) -> list[str]:
    def lacks(sight: Sight) -> str:
        behind = [name for name, has in tags(sight.servers, SERVER_CONTAINER).items() if has != old]
        ready = [name_of(pod) for pod in sight.servers if is_ready(pod)]
        if sight.topology.is_whole and len(ready) == sight.topology.expected:
            return ""
        return f"a whole group ({sight.topology.summary()}; still to go back: {', '.join(sorted(behind)) or 'none'})"

    goal, deadline = f"{cluster}: every member back", time.monotonic() + MEMBER_SECONDS
    sight = wait_until(kube, cluster, credentials, lacks, what=goal, deadline=deadline)
    # A pod that has its old version again, or still, is left alone: it has a uid that is not the noted one.
    known = {
        name_of(pod): life_of(pod).uid if tag(pod["spec"], SERVER_CONTAINER) != old else "-" for pod in sight.servers
    }
    left = [name for name, uid in known.items() if uid != "-"]
    if not left:
        return []
    restart(kube, cluster, credentials, Wish(Method.POD, None, 0, known), workflow=noted.workflow)
    return [f"{name} went back to {old}" for name in left]


def of_note(kube: Kube, cluster: str, noted: Intent) -> None:
    """Go back where a run was cut off, for the exit handler and for reap; what has no way back in place stays.

    Where the note is in the book alone, nothing is half done: another run may have asked for that version since.
    """
    found = kube.find("innodbclusters", cluster)
    if found is None or read_drill(found) != noted:
        return
    try:
        for done in go_back(kube, cluster, noted):
            log("undone", what=done)
    except Stays as error:
        log("stays", cluster=cluster, why=str(error))


def try_to_go_back(kube: Kube, cluster: str, noted: Intent) -> str:
    """Go back, and say how it ended; what cannot be done now is done by the exit handler, or by reap."""
    try:
        done = go_back(kube, cluster, noted)
    except Stays as error:
        return str(error)
    except Temporary:
        raise
    except StepError as error:
        log("not-gone-back", cluster=cluster, why=str(error))
        return f"GOING BACK FAILED, TOO: {error}"
    seen = look(kube, cluster, root_credentials(kube, kube.cluster(cluster)))
    what = "; ".join(done) or "nothing had been changed yet"
    return f"It was taken back to {noted.before['version']}: {what}. The group is {seen.topology.summary()}."
