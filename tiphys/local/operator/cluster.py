"""Cares for one InnoDBCluster: looks every second or at each event, and does what is still missing."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from tiphys.local.client import ApiError, Informer, Kube
from tiphys.local.operator import ensure, group, names, quorum, reboot, versions
from tiphys.local.operator.accounts import Account, account, group_statements
from tiphys.local.operator.backup_spec import parse_init
from tiphys.local.operator.decide import Errant, Join, Leave, Lost, Release, Remember, decide
from tiphys.local.operator.diagnose import Diagnosis, diagnose
from tiphys.local.operator.member import Member, from_pod, going_since
from tiphys.local.operator.metadata import Contents
from tiphys.local.operator.objects import decoded
from tiphys.local.operator.probe import Prober
from tiphys.local.operator.publish import publish_member, publish_status, set_finalizer
from tiphys.local.operator.rejoin import STUCK_TEXT, Rejoins
from tiphys.local.operator.spec import ClusterSpec, InvalidSpec, parse
from tiphys.local.operator.sql import SqlError
from tiphys.local.operator.wanted import lost_routers, wanted_metadata

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
FAST_SECONDS = 0.3
"""Pause between looks while something is on its way."""
END_GROUP = "end-group"


@dataclass(frozen=True)
class Parts:
    """What all clusters share.

    Attributes:
        kube: the API.
        clusters: all InnoDBClusters.
        pods: all pods of clusters.
        threads: for SQL.
        pre_stop_seconds: wait of a server pod between its deletion and its shutdown.
    """

    kube: Kube
    clusters: Informer
    pods: Informer
    threads: ThreadPoolExecutor
    pre_stop_seconds: int


class Cluster:
    """One InnoDBCluster's caretaker; `run` until cancelled or the cluster is gone."""

    def __init__(self, parts: Parts, namespace: str, name: str):
        self.parts = parts
        self.key = (namespace, name)
        self.wake = asyncio.Event()
        self._prober = Prober(parts.threads)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._accounts: dict[str, dict[str, str]] = {}
        self._outage_since: float | None = None
        self._ensured: tuple[Any, ...] | None = None
        self._said: dict[str, float] = {}
        self._rejoins = Rejoins()

    async def run(self) -> None:
        """Look and act for ever; errors of the API are waited out."""
        try:
            while True:
                pause = LOOK_SECONDS
                self.wake.clear()
                obj = self.parts.clusters.objects.get(self.key)
                if obj is None:
                    return
                try:
                    pause = await self._look(obj)
                except ApiError as error:
                    log.info("will look again", extra={"cluster": self.key[1], "error": str(error)})
                except Exception:
                    log.exception("looking after a cluster failed", extra={"cluster": self.key[1]})
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.wake.wait(), pause)
                if self.wake.is_set():
                    await asyncio.sleep(0.05)  # events come in bursts
        finally:
            for task in self._tasks.values():
                task.cancel()
            self._prober.close()

    async def _look(self, obj: Mapping[str, Any]) -> float:
        kube = self.parts.kube
        deleting = bool(obj["metadata"].get("deletionTimestamp"))
        try:
            spec = versions.settled(parse(obj), obj)
            if not (obj.get("status") or {}).get("createTime"):
                parse_init(obj)
        except InvalidSpec as error:
            if deleting:
                await set_finalizer(kube, "innodbclusters", obj, names.FINALIZER_CLUSTER, False)
            else:
                await publish_status(kube, obj, "INVALID", 0, False)
                await self._say(obj, "InvalidArgument", str(error), "Warning")
            return 10.0
        if deleting:
            await ensure.take_down(kube, spec.name, spec.namespace)
        else:
            await self._ensure(obj, spec)
        pods = self._pods("mysqld")
        members = await self._members(pods, spec)
        created = bool((obj.get("status") or {}).get("createTime"))
        diagnosis = diagnose(members, created, deleting)
        if not created and diagnosis.group and not deleting:
            created = True  # bootstrapped by an operator that was killed before it could say so
            diagnosis = diagnose(members, created, deleting)
        await self._publish(obj, pods, members, diagnosis, created)
        if deleting and not pods:
            await set_finalizer(kube, "innodbclusters", obj, names.FINALIZER_CLUSTER, False)
            return FAST_SECONDS
        busy = any(member.uid in self._tasks for member in members)
        if not deleting and not busy and self._rejoins.is_stuck(members, diagnosis, spec.instances):
            self._begin(END_GROUP, partial(self._end_group, obj, diagnosis))
        self._act(obj, spec, pods, members, diagnosis, deleting)
        if not deleting:
            await self._start_group(obj, spec, pods, members, diagnosis, created)
            if survivor := quorum.choose_survivor(members, diagnosis):
                self._begin("quorum", partial(self._force_quorum, obj, survivor))
            self._keep_metadata(spec, members, diagnosis)
            await self._restart_lost_routers(obj, members, diagnosis)
            complete = len(diagnosis.online) >= spec.instances
            await ensure.ensure_routers(kube, spec, complete)
        calm = diagnosis.status == "ONLINE" and len(diagnosis.online) == len(pods) == spec.instances
        return LOOK_SECONDS if calm and not self._tasks else FAST_SECONDS

    # Looking

    def _pods(self, component: str) -> list[dict[str, Any]]:
        wanted = {"component": component, names.LABEL_CLUSTER: self.key[1]}
        found = [
            pod
            for (namespace, _), pod in self.parts.pods.objects.items()
            if namespace == self.key[0] and wanted.items() <= (pod["metadata"].get("labels") or {}).items()
        ]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    async def _secret(self, suffix: str) -> dict[str, str]:
        if suffix not in self._accounts:
            secret = await self.parts.kube.get("secrets", f"{self.key[1]}-{suffix}", self.key[0])
            self._accounts[suffix] = decoded(secret)
        return self._accounts[suffix]

    async def _admin(self) -> Account:
        return account(await self._secret("privsecrets"), "clusterAdminUsername", "clusterAdminPassword")

    async def _recovery(self) -> Account:
        return account(await self._secret("privsecrets"), "recoveryUsername", "recoveryPassword")

    async def _members(self, pods: list[dict[str, Any]], spec: ClusterSpec) -> list[Member]:
        bare = [from_pod(pod, None, going_since(pod)) for pod in pods]
        # Before its sidecar is done a server does not know the operator's account yet.
        askable = {m.uid: m.address for m in bare if m.address and m.running and m.configured}
        if not askable:
            return bare
        views = await self._prober.ask_all(askable, await self._admin())
        return [from_pod(pod, views.get(m.uid), m.deleting) for pod, m in zip(pods, bare, strict=True)]

    # Telling

    async def _say(self, obj: Mapping[str, Any], reason: str, message: str, kind: str = "Normal") -> None:
        """Record an Event about the cluster; the same one at most every minute."""
        key, time_now = f"{reason} {message}", time.monotonic()
        if time_now - self._said.get(key, -1e9) < 60:
            return
        self._said[key] = time_now
        log.info(message, extra={"cluster": self.key[1], "reason": reason})
        await self.parts.kube.event(dict(obj), reason, message, kind, names.COMPONENT)

    async def _publish(
        self,
        obj: Mapping[str, Any],
        pods: list[dict[str, Any]],
        members: list[Member],
        diagnosis: Diagnosis,
        created: bool,
    ) -> None:
        kube = self.parts.kube
        for pod, member in zip(pods, members, strict=True):
            with suppress(ApiError):  # one pod that vanished meanwhile must not hide the others
                await publish_member(kube, pod, member, diagnosis)
        before = ((obj.get("status") or {}).get("cluster") or {}).get("status")
        if await publish_status(kube, obj, diagnosis.status, len(diagnosis.online), created) and (
            before != diagnosis.status
        ):
            text = f"Cluster status changed to {diagnosis.status}. {len(diagnosis.online)} member(s) ONLINE"
            await self._say(obj, "StatusChange", text)
        if text := quorum.stuck_text(diagnosis.status):
            await self._say(obj, "UnrecoverableState", text, "Warning")

    # Acting

    async def _ensure(self, obj: Mapping[str, Any], spec: ClusterSpec) -> None:
        key = (spec, obj["metadata"].get("generation"))
        if self._ensured and self._ensured[0] == repr(key) and time.monotonic() - self._ensured[1] < 15:
            return
        kube = self.parts.kube
        await set_finalizer(kube, "innodbclusters", obj, names.FINALIZER_CLUSTER, True)
        if said := await versions.follow(kube, spec, obj):
            await self._say(obj, said.reason, said.text, said.kind)
        await ensure.ensure_objects(kube, spec, self.parts.pre_stop_seconds)
        self._ensured = (repr(key), time.monotonic())

    def _begin(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start a task unless one of that key is still at it; its errors are logged and it may begin again."""
        if key in self._tasks:
            return

        async def guarded() -> None:
            try:
                await work()
            except (SqlError, group.GroupError, ApiError, OSError) as error:
                log.warning("did not work", extra={"cluster": self.key[1], "task": key, "error": str(error)})
                await asyncio.sleep(0.5)
            except Exception:
                log.exception("did not work", extra={"cluster": self.key[1], "task": key})
                await asyncio.sleep(2)
            finally:
                del self._tasks[key]
                self.wake.set()

        self._tasks[key] = asyncio.create_task(guarded())

    def _act(
        self,
        obj: Mapping[str, Any],
        spec: ClusterSpec,
        pods: list[dict[str, Any]],
        members: list[Member],
        diagnosis: Diagnosis,
        deleting: bool,
    ) -> None:
        by_uid = {pod["metadata"]["uid"]: pod for pod in pods}
        for action in decide(members, diagnosis, deleting):
            pod = by_uid[action.member.uid]
            match action:
                case Join():
                    busy = any(member.uid in self._tasks for member in members)
                    ended = END_GROUP in self._tasks
                    if not ended and self._rejoins.may_begin(action, diagnosis, spec.instances, busy):
                        self._begin(action.member.uid, partial(self._join, obj, pod, action, diagnosis))
                case Leave():
                    why = "since its pod is going"
                    self._begin(action.member.uid, partial(self._leave, obj, action.member, why))
                case Lost():
                    if self._rejoins.may_leave(action):
                        why, limit = "which does not list it", group.LONGEST_LEAVE
                        self._begin(action.member.uid, partial(self._leave, obj, action.member, why, limit))
                case Release():
                    self._begin(f"release {action.member.uid}", partial(self._release, pod))
                case Remember():
                    self._begin(
                        f"seeds {action.member.uid}", partial(self._remember, action.member.address, action.seeds)
                    )
                case Errant():
                    text = (
                        f"{action.member.name} has {action.count} transactions that the group has not, so it does not"
                        " join. Remove its claim and its pod to have it copy the group's data"
                    )
                    self._begin("errant", partial(self._say, obj, "ErrantTransactions", text, "Warning"))

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.parts.threads, lambda: work(*args))

    async def _join(self, obj: Mapping[str, Any], pod: dict[str, Any], action: Join, diagnosis: Diagnosis) -> None:
        assert diagnosis.group is not None and action.member.view is not None
        admin, recovery = await self._admin(), await self._recovery()
        peers = [peer.address for peer in diagnosis.group.peers if peer.state == "ONLINE"]
        clone = False
        if action.member.view.empty:
            donor = next(p.address for p in diagnosis.group.peers if p.state == "ONLINE")
            clone = await self._in_thread(group.data_bytes, donor, admin) > group.CLONE_BYTES
        verb = "Rejoining" if action.rejoin else "Joining"
        how = " by a copy of its data" if clone else ""
        await self._say(obj, "Rejoin" if action.rejoin else "Join", f"{verb} {action.member.name} to cluster{how}")
        await set_finalizer(self.parts.kube, "pods", pod, names.FINALIZER_MEMBER, True)
        await self._in_thread(self._rejoins.join, action.member, admin, recovery, peers, clone)

    async def _remember(self, address: str, places: str) -> None:
        await self._in_thread(group.remember, address, await self._admin(), places)

    async def _leave(self, obj: Mapping[str, Any], member: Member, why: str, limit: int = group.LEAVE_SECONDS) -> None:
        await self._say(obj, "Leave", f"Removing {member.name} from the group, {why}")
        await self._in_thread(group.leave, member.address, await self._admin(), limit)

    async def _release(self, pod: dict[str, Any]) -> None:
        await set_finalizer(self.parts.kube, "pods", pod, names.FINALIZER_MEMBER, False)

    async def _start_group(
        self,
        obj: Mapping[str, Any],
        spec: ClusterSpec,
        pods: list[dict[str, Any]],
        members: list[Member],
        diagnosis: Diagnosis,
        created: bool,
    ) -> None:
        """Start the group where none runs, if `reboot.choose` allows it; awaited, so never twice at once."""
        meta = obj["metadata"]
        text = (meta.get("annotations") or {}).get(names.ANNOTATION_BOOTSTRAP)
        if diagnosis.group is not None:
            self._outage_since = None
            if text:
                await self._note_intent(spec, None)
            return
        if self._outage_since is None:
            self._outage_since = time.monotonic()
        intent = reboot.Intent(**json.loads(text)) if text else None
        choice = reboot.choose(members, spec.instances, created, intent, time.monotonic() - self._outage_since)
        if isinstance(choice, reboot.Wait):
            if created and choice.stuck:
                await self._say(obj, "CannotReboot", choice.reason, "Warning")
            log.debug("no bootstrap", extra={"cluster": spec.name, "reason": choice.reason})
            return
        if self._tasks:
            return  # something started before the group went is still under way
        member = choice.member
        assert member.view is not None
        await self._note_intent(spec, reboot.Intent(member.uid, member.view.uuid), meta["resourceVersion"])
        verb = "Restoring OFFLINE cluster" if created else "Creating cluster"
        await self._say(obj, "Rebooting" if created else "CreateCluster", f"{verb} at {member.name}")
        pod = next(pod for pod in pods if pod["metadata"]["uid"] == member.uid)
        await set_finalizer(self.parts.kube, "pods", pod, names.FINALIZER_MEMBER, True)
        admin, recovery = await self._admin(), await self._recovery()
        try:
            await self._in_thread(group.bootstrap, member.address, admin, recovery, spec.group_name)
        except (SqlError, group.GroupError) as error:
            await self._say(obj, "BootstrapFailed", f"Starting the group at {member.name} failed: {error}", "Warning")
        self.wake.set()

    async def _force_quorum(self, obj: Mapping[str, Any], survivor: Member) -> None:
        await self._say(obj, "RestoreQuorum", f"Restoring quorum of cluster from {survivor.name}")
        await self._in_thread(quorum.force_quorum, survivor.address, await self._admin())

    async def _end_group(self, obj: Mapping[str, Any], diagnosis: Diagnosis) -> None:
        assert diagnosis.group is not None
        await self._say(obj, "RebootStuckGroup", STUCK_TEXT, "Warning")
        await self._in_thread(self._rejoins.end_group, diagnosis.group, await self._admin())

    async def _note_intent(self, spec: ClusterSpec, intent: reboot.Intent | None, version: str | None = None) -> None:
        value = json.dumps({"pod": intent.pod, "server": intent.server}) if intent else None
        meta: dict[str, Any] = {"annotations": {names.ANNOTATION_BOOTSTRAP: value}}
        if intent:
            meta["annotations"][names.ANNOTATION_REBOOT] = f"{time.time():.0f}"
        if version:
            meta["resourceVersion"] = version  # somebody else's change means: look again first
        await self.parts.kube.patch("innodbclusters", spec.name, {"metadata": meta}, spec.namespace)

    def _keep_metadata(self, spec: ClusterSpec, members: list[Member], diagnosis: Diagnosis) -> None:
        primary = next((m for m in members if m.view and m.view.uuid == diagnosis.primary), None)
        if primary is None or primary.view is None:
            return
        seen = primary.view.metadata
        if seen is None or seen.cluster != spec.group_name:
            self._begin("metadata", lambda: self._create_metadata(spec, primary.address))
            return
        wanted = wanted_metadata(seen, members, diagnosis, self._pods("mysqlrouter"))
        if wanted != seen:
            self._begin("metadata", lambda: self._update_metadata(spec, primary.address, seen, wanted))

    async def _restart_lost_routers(self, obj: Mapping[str, Any], members: list[Member], diagnosis: Diagnosis) -> None:
        view = next((m.view for m in members if m.view and m.view.uuid == diagnosis.primary), None)
        at = (obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_REBOOT)
        if view is None or not at:
            return
        for name in lost_routers(self._pods("mysqlrouter"), view.check_ins, float(at), time.time()):
            text = f"Restarting {name}: it has not found the cluster since its group was started again"
            await self._say(obj, "RestartRouter", text)
            with suppress(ApiError):
                await self.parts.kube.delete("pods", name, self.key[0])

    async def _create_metadata(self, spec: ClusterSpec, address: str) -> None:
        router = account(await self._secret("router"), "routerUsername", "routerPassword")
        backup = account(await self._secret("backup"), "backupUsername", "backupPassword")
        statements = group_statements(router, backup)
        admin = await self._admin()
        await self._in_thread(group.create_metadata, address, admin, spec.name, spec.group_name, statements)

    async def _update_metadata(self, spec: ClusterSpec, address: str, seen: Contents, wanted: Contents) -> None:
        admin = await self._admin()
        await self._in_thread(group.update_metadata, address, admin, spec.group_name, seen, wanted)
