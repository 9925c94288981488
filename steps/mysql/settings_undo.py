"""Undoing set-config from its note: what is written down, every member's values, and servers that read the new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import mysql.connector

from steps.drill.intent import Intent, read_drill
from steps.errors import StepError, Temporary
from steps.kube.client import Kube
from steps.log import log
from steps.mysql import settings_files
from steps.mysql.cnf import same, settings_of
from steps.mysql.connection import SERVER_PORT, Credentials, root_credentials, session
from steps.mysql.restart_plan import START_SECONDS, life_of
from steps.mysql.settings_apply import Kept, differing, is_full, put_back, remember
from steps.mysql.settings_files import Files
from steps.mysql.settings_roll import bring_back, roll
from steps.mysql.topology import server_addresses

NAME = "set-config"
"""Also what stands in its note on the cluster in place of a fault."""

RESCUE = (
    "error 1040: all its connections are taken; an administrator gets one more than max_connections, if no other has "
    "it: kubectl exec -it {pod} -c mysql -- mysql -uroot -p, then SET PERSIST max_connections = 151"
)


@dataclass(frozen=True)
class Before:
    """What set-config notes before it changes anything.

    Attributes:
        files: what was written down.
        wrote: what it writes down.
        members: each member's variables as they were, by pod.
        servers: each pod's identity.
    """

    files: Files
    wrote: Files
    members: Mapping[str, tuple[Kept, ...]]
    servers: Mapping[str, str]

    def values(self) -> dict[str, Any]:
        """Return it as it is noted."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Before:
        """Return it from what was noted.

        Raises:
            StepError: somebody has spoilt the note.
        """
        try:
            members = {str(pod): tuple(Kept(**one) for one in kept) for pod, kept in values["members"].items()}
            return cls(Files(**values["files"]), Files(**values["wrote"]), members, dict(values["servers"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise StepError(f"The note of set-config cannot be read ({error!r}): somebody has changed it.") from error


def undo(
    kube: Kube,
    cluster: str,
    workflow: str,
    before: Before,
    *,
    stop_reason: Callable[[], str] = lambda: "",
    credentials: Credentials | None = None,
) -> list[str]:
    """Put everything back as it was, read it back, and return what was done. May run twice, and from where it stopped.

    Args:
        kube: of the cluster's namespace.
        cluster: its name.
        workflow: whose note is on it.
        before: what was noted.
        stop_reason: asked all the time while servers are restarted; a text stops it there.
        credentials: the cluster's administrator; from its Secret where None.

    Raises:
        StepError: something could not be put back; the message says what.
    """
    done = []
    now = settings_files.read(kube, cluster)
    if now != before.files:
        settings_files.write(kube, cluster, before.files, [before.wrote])
        done.append("spec.mycnf and the ConfigMap have their text from before")
    user = credentials or root_credentials(kube, kube.cluster(cluster))
    static = any(not one.dynamic for kept in before.members.values() for one in kept)
    if static:
        bring_back(kube, cluster, user, before.servers, START_SECONDS)
    _each(kube, cluster, user, before, put_back)
    if static and (pods := _other(kube, cluster, user, before)):
        identities = {pod: life.uid for pod, life in _lives(kube, cluster).items()}
        roll(kube, cluster, user, pods, identities, workflow=workflow, stop_reason=stop_reason)
        done.append(f"restarted again: {', '.join(pods)}")
    left = _left(kube, cluster, user, before)
    if left:
        raise StepError(f"Not as before: {'; '.join(left)}. Run check-cluster, then set-config.")
    done.append(f"{', '.join(sorted(before.members))} have their values from before (read back)")
    for line in done:
        log("undone", what=line)
    return done


def _lives(kube: Kube, cluster: str) -> dict[str, Any]:
    return {life.pod: life for life in map(life_of, kube.servers(cluster))}


def _each(
    kube: Kube, cluster: str, user: Credentials, before: Before, act: Callable[[Any, tuple[Kept, ...]], Any]
) -> dict[str, Any]:
    """Do something on every member, and return what came of it; one that fails keeps nobody from the others."""
    addresses = server_addresses(kube.servers(cluster))
    instances = int(kube.cluster(cluster)["spec"].get("instances", 1))
    results, stuck = {}, []
    for pod, kept in before.members.items():
        if not addresses.get(pod):
            # One that is only away comes back with what was persisted on its volume.
            if int(pod.rpartition("-")[2]) < instances:
                stuck.append(f"{pod}: it is away")
            else:
                log("left-alone", pod=pod, why="it is no member any more")
            continue
        try:
            with session(addresses[pod], SERVER_PORT, user, what=pod) as connection:
                results[pod] = act(connection, kept)
        except (mysql.connector.Error, StepError) as error:
            rescue = f" ({RESCUE.format(pod=pod)})" if is_full(error) else ""
            stuck.append(f"{pod}: {getattr(error, 'msg', '') or error}{rescue}")
    if stuck:
        raise Temporary(f"These members could not be put back now: {'; '.join(stuck)}. The note stays; try again.")
    return results


def _other(kube: Kube, cluster: str, user: Credentials, before: Before) -> list[str]:
    """Return the pods whose server runs with another static value than before, or than is written down."""

    def differs(connection: Any, kept: tuple[Kept, ...]) -> bool:
        static = [one for one in kept if not one.dynamic]
        return any(
            not _accepted(was, one, before.files) for was, one in zip(static, _now(connection, static), strict=True)
        )

    return [pod for pod, differ in _each(kube, cluster, user, before, differs).items() if differ]


def _accepted(was: Kept, now: Kept, files: Files) -> bool:
    """Tell whether a static variable has its value from before, or the one that was written down before."""
    written = was.persisted or settings_of(files.file).get(was.name, was.value)
    return same(now.value, was.value) or same(now.value, written)


def _left(kube: Kube, cluster: str, user: Credentials, before: Before) -> list[str]:
    """Return what is not as before."""

    def look(connection: Any, kept: tuple[Kept, ...]) -> list[str]:
        after = [
            replace(one, value=was.value) if not was.dynamic and _accepted(was, one, before.files) else one
            for was, one in zip(kept, _now(connection, kept), strict=True)
        ]
        return differing(kept, after)

    found = [f"{pod}: {line}" for pod, lines in _each(kube, cluster, user, before, look).items() for line in lines]
    return found + (["what is written down"] if settings_files.read(kube, cluster) != before.files else [])


def _now(connection: Any, kept: Sequence[Kept]) -> list[Kept]:
    return remember(connection, {one.name: one.dynamic for one in kept})


def of_note(kube: Kube, cluster: str, noted: Intent) -> list[str]:
    """Undo what a run of set-config has noted on its cluster; return what was done.

    Where the note is not on the cluster any more, or not yet, though it is in the book, nothing is half done there.
    """
    found = kube.find("innodbclusters", cluster)
    if found is None or read_drill(found) != noted:
        return []
    return undo(kube, cluster, noted.workflow, Before.of(noted.before))
