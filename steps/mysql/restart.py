"""Restarting a cluster's servers one after another, with the quorum kept all the time: the core of rolling-restart.

Nothing is planned far ahead: before each server the cluster is looked at again, so a failover in the middle changes
who is next, and a run that was cut off is taken up by looking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from steps.drill import intent
from steps.errors import Refused, StepError, Temporary, TimedOut, VerdictAborted
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, NotFound, TooManyRequests, Unreachable
from steps.kube.pods import name_of, why_not_ready
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, session
from steps.mysql.inspection import gtid_set
from steps.mysql.primary import move_primary
from steps.mysql.restart_plan import SERVER_CONTAINER, Life, Method, Wish, heir, in_order, last_end, life_of, risks
from steps.mysql.topology import Topology
from steps.mysql.waiting import Sight, look, wait_until

HOPELESS_SECONDS = 20.0
"""How long a pod has to look hopeless before it is given up: a registry may be away for a moment."""
NOT_LOWEST = "not the lowest version in the group"
"""How group replication refuses a primary that is newer than another member (9.7.4): in an upgrade to another series
the last old member cannot hand over before it goes."""
CALM_SECONDS = 60.0
"""How long, between two servers, the group is given to be whole and every pod to be ready."""
HELD_SECONDS = 60.0
"""How long a disruption budget may hold a pod while every member is there: its count lags behind for seconds, and one
that holds it for longer will not let it go."""
AGAIN_SECONDS = 1.0
RUNNING_SECONDS = 20
"""How long transactions that run on the old primary may take before their connections are ended."""
WITHIN = "restart the servers within their pods: method=server asks for no eviction"
BEHIND_SECONDS = 1.0
"""A member that needs no longer than this to apply what the primary has just executed is in step, though clients that
write all the time never leave its queue empty."""

WEIGHT_SQL = "SELECT @@global.group_replication_member_weight"
QUEUE_SQL = (
    "SELECT count_transactions_remote_in_applier_queue FROM performance_schema.replication_group_member_stats"
    " WHERE member_id = @@server_uuid"
)
QUEUES_SQL = (
    "SELECT member_id, count_transactions_remote_in_applier_queue"
    " FROM performance_schema.replication_group_member_stats"
)


@dataclass(frozen=True)
class Progress:
    """Something that a rolling restart has begun or finished.

    Attributes:
        kind: restarting, restarted, switching or switched.
        pod: the server, or the new primary.
        was: role of a server, primary before the run or secondary; of a switch, the pod of the old primary.
        number: which of the servers of this run it is, from 1; 0 for a switch.
        of: how many servers this run restarts.
        seconds: how long it took; 0 for a beginning.
    """

    kind: str
    pod: str
    was: str
    number: int = 0
    of: int = 0
    seconds: float = 0.0


class NotBack(StepError):
    """A member was stopped and is not back; none other was touched after it.

    Attributes:
        pod: whose.
    """

    def __init__(self, message: str, pod: str) -> None:
        super().__init__(message)
        self.pod = pod


def restart(
    kube: Kube,
    cluster: str,
    credentials: Credentials,
    wish: Wish,
    *,
    workflow: str,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop_reason: Callable[[], str] = lambda: "",
    hopeless: Callable[[Object], str] = lambda pod: "",
) -> None:
    """Restart every server of a cluster that `wish` says, one after another, the primary last and as a secondary.

    The caller has written its intent on the cluster. An error of `on_progress` stops the run before the next server.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        credentials: its administrator.
        wish: which servers, and how.
        workflow: whose intent is on the cluster.
        on_progress: told of each beginning and end.
        stop_reason: asked all the time; a text stops the run.
        hopeless: asked of the pod of a server that is awaited; a text, given for a while, ends the waiting.

    Raises:
        Refused: the quorum would be at risk, or a disruption budget holds a pod; everything before is done.
        NotBack: a member did not come back in its time.
        VerdictAborted: `stop_reason` said so.
    """
    run = _Run(kube, cluster, credentials, wish, workflow, on_progress, stop_reason, hopeless)
    run.all()


def weights(topology: Topology, credentials: Credentials) -> dict[str, int]:
    """Return each ONLINE member's weight for elections, by pod; a member that does not answer is left out."""
    found: dict[str, int] = {}
    for member in topology.members:
        if member.address:
            try:
                with session(member.address, SERVER_PORT, credentials, what=member.pod) as connection:
                    found[member.pod] = int(query(connection, WEIGHT_SQL)[0][0])
            except StepError as error:
                log("weight-not-read", pod=member.pod, why=str(error))
    return found


class _Run:
    """One call of `restart`."""

    def __init__(
        self,
        kube: Kube,
        cluster: str,
        credentials: Credentials,
        wish: Wish,
        workflow: str,
        on_progress: Callable[[Progress], None],
        stop_reason: Callable[[], str],
        hopeless: Callable[[Object], str] = lambda pod: "",
    ) -> None:
        self._kube, self._cluster, self._credentials, self._wish = kube, cluster, credentials, wish
        self._workflow, self._tell, self._stop_reason = workflow, on_progress, stop_reason
        self._hopeless = hopeless
        self._first_primary = ""
        self._hands_over_itself = False

    def all(self) -> None:
        """Restart what is left to restart, until nothing is."""
        number = 0
        while True:
            sight = self._calm(number)
            if number == 0:
                self._remember(sight)
            left = self._left(sight)
            if not left:
                return
            primary = sight.topology.primary
            assert primary is not None  # the group is whole
            self._first_primary = self._first_primary or primary.pod
            if set(left) == {primary.pod} and not self._hands_over_itself:
                self._switch(sight.topology, left)
                continue
            number += 1
            heavy = weights(sight.topology, self._credentials)
            self._one(left[in_order(left, sight.topology, heavy)[0]], sight.topology, number, number - 1 + len(left))

    def _remember(self, sight: Sight) -> None:
        """Keep what tells each server's life from the next, for those that the caller has not kept himself."""
        lives = {life.pod: life for life in map(life_of, sight.servers) if not self._wish.is_done(life)}
        known = {**identities(lives, self._wish.method), **self._wish.known}
        self._wish = replace(self._wish, known=known)

    def _left(self, sight: Sight) -> dict[str, Life]:
        lives = [life_of(pod) for pod in sight.servers]
        return {life.pod: life for life in lives if not self._wish.is_done(life)}

    def _calm(self, number: int) -> Sight:
        """Wait until no risk is seen; a run that is taken up again gives the member that it had stopped its time."""
        sight = look(self._kube, self._cluster, self._credentials)
        self._must_go_on(sight)
        if not risks(sight.topology, sight.servers):
            return sight
        patience = CALM_SECONDS
        if number == 0:
            if not self._wish.known:
                raise Refused.because(risks(sight.topology, sight.servers))
            patience = max((float(self._wish.patience(life_of(pod))) for pod in sight.servers), default=patience)
        try:
            return self._wait(lambda seen: "; ".join(risks(seen.topology, seen.servers)), "a whole group", patience)
        except TimedOut as error:
            raise Refused(
                f"Stopped before the next server, for the quorum would be at risk: {error} "
                f"Not restarted: {', '.join(sorted(self._left(sight))) or 'none'}."
            ) from error

    def _must_go_on(self, seen: Sight) -> None:
        if reason := self._stop_reason():
            raise VerdictAborted(f"Stopped: {reason}. What was stopped last comes back by itself.")
        noted = intent.read(seen.cluster)
        if noted is None or noted.workflow != self._workflow:
            whose = "is gone" if noted is None else f"is now of workflow {noted.workflow!r}"
            raise Refused(
                f"Stopped before the next server: this run's note on cluster {self._cluster} (annotation "
                f"{intent.ANNOTATION}) {whose}, so something else may be at work there. Run it again when that is over."
            )

    def _wait(self, lacks: Callable[[Sight], str], what: str, seconds: float) -> Sight:
        def lacking(seen: Sight) -> str:
            self._must_go_on(seen)
            return lacks(seen)

        goal, deadline = f"{self._cluster}: {what}", time.monotonic() + seconds
        return wait_until(self._kube, self._cluster, self._credentials, lacking, what=goal, deadline=deadline)

    def _switch(self, topology: Topology, left: Collection[str]) -> None:
        """Hand the primary over to the best of those that have been restarted."""
        assert topology.primary is not None
        old = topology.primary.pod
        with session(topology.primary.address, SERVER_PORT, self._credentials, what=old) as connection:
            queued = {str(row[0]): int(row[1] or 0) for row in query(connection, QUEUES_SQL)}
        candidates = [member for member in topology.secondaries if member.pod not in left]
        new = heir(candidates, weights(topology, self._credentials), queued)
        self._tell(Progress("switching", new, old))
        began = time.monotonic()
        try:
            move_primary(self._kube, self._cluster, new, self._credentials, running_seconds=RUNNING_SECONDS)
        except StepError as error:
            if NOT_LOWEST not in str(error):
                raise
            # As it leaves in good order, the group elects another at once.
            log("not-switched", pod=new, was=old, why=str(error))
            self._hands_over_itself = True
            return
        self._tell(Progress("switched", new, old, seconds=time.monotonic() - began))

    def _one(self, life: Life, topology: Topology, number: int, of: int) -> None:
        """Restart one server and wait until it is in step."""
        was = "primary" if life.pod == self._first_primary else "secondary"
        self._tell(Progress("restarting", life.pod, was, number, of))
        began = time.monotonic()
        if self._wish.method is Method.POD:
            self._evict(life)
        else:
            self._shut_down(life, topology)
        patience = self._wish.patience(life)
        try:
            self._wait(self._until_back(life), f"server {life.pod} back and in step", patience)
        except TimedOut as error:
            raise NotBack(self._not_back(life, patience), life.pod) from error
        self._tell(Progress("restarted", life.pod, was, number, of, time.monotonic() - began))

    def _until_back(self, life: Life) -> Callable[[Sight], str]:
        """Return what tells how much a server lacks, and gives it up once it was hopeless for a while."""
        since: list[float] = []

        def lacking(seen: Sight) -> str:
            pod = next((one for one in seen.servers if name_of(one) == life.pod), None)
            why = "" if pod is None or life_of(pod).uid == life.uid else self._hopeless(pod)
            if not why:
                since.clear()
                return self._lacking(seen, life)
            since.append(time.monotonic())
            if since[-1] - since[0] < HOPELESS_SECONDS:
                return f"{life.pod}: {why}"
            raise NotBack(
                f"{life.pod} does not come back: {why}. The others serve on ({seen.topology.summary()}), and none was "
                f"stopped after it.",
                life.pod,
            )

        return lacking

    def _not_back(self, life: Life, patience: int) -> str:
        """Say which member did not come back, what was seen of it, how the others are, and what to do."""
        seen = look(self._kube, self._cluster, self._credentials)
        pod = next((one for one in seen.servers if name_of(one) == life.pod), None)
        saw = [self._lacking(seen, life) or "now it is back"]
        if pod is not None:
            saw += [f"its pod {why}"] if (why := why_not_ready(pod)) else []
            saw += [ended] if (ended := last_end(pod)) else []
        if silent := seen.topology.unreachable.get(life.pod):
            saw.append(f"its server does not answer ({silent})")
        left = sorted(pod for pod in self._left(seen) if pod != life.pod)
        return (
            f"{life.pod} did not come back within {patience} s. Seen: {'; '.join(saw)}. The others serve on "
            f"({seen.topology.summary()}), and none was stopped after it; not yet restarted: "
            f"{', '.join(left) or 'none'}. Mend it first: kubectl describe pod {life.pod}; kubectl logs {life.pod} -c "
            f"{SERVER_CONTAINER}."
        )

    def _evict(self, life: Life) -> None:
        """Ask for the eviction of this very pod until it is accepted."""
        deadline = time.monotonic() + HELD_SECONDS
        held = False
        while True:
            try:
                self._kube.evict(life.pod, uid=life.uid)
                return
            except (NotFound, Conflict):
                found = self._kube.find("pods", life.pod)
                if found is None or life_of(found).uid != life.uid:
                    return  # this very pod has gone by itself
            except TooManyRequests as error:
                if not held:
                    log("held", pod=life.pod, why=str(error))
                held = True
                if time.monotonic() >= deadline:
                    raise Refused(
                        f"{life.pod} was not restarted: a disruption budget has held its pod for {HELD_SECONDS:.0f} s, "
                        f"though every member is there. {error}. Let the budget allow one pod, or {WITHIN}."
                    ) from error
            except Unreachable as error:
                if "PodDisruptionBudget" not in str(error):
                    raise
                # Kubernetes evicts no pod that two budgets select, and says so with a 500.
                raise Refused(
                    f"{life.pod} was not restarted, for its pod cannot be evicted. {error}. Leave it one, or {WITHIN}."
                ) from error
            if reason := self._stop_reason():
                raise VerdictAborted(f"Stopped while a disruption budget held {life.pod}: {reason}.")
            time.sleep(AGAIN_SECONDS)

    def _shut_down(self, life: Life, topology: Topology) -> None:
        """End the server in good order; the container starts again, for a StatefulSet's pods always do."""
        member = topology.of_pod(life.pod)
        assert member is not None  # the group is whole
        with session(member.address, SERVER_PORT, self._credentials, what=f"server {life.pod}") as connection:
            query(connection, "SHUTDOWN")

    def _lacking(self, seen: Sight, before: Life) -> str:
        """Return what a server still lacks until it is back and in step."""
        pod = next((one for one in seen.servers if name_of(one) == before.pod), None)
        if pod is None:
            return f"{before.pod} has no pod yet"
        identity = life_of(pod).identity(self._wish.method)
        if not identity or identity == before.identity(self._wish.method):
            return f"{before.pod} is stopping"
        member, view = seen.topology.of_pod(before.pod), seen.topology.views.get(before.pod)
        if view is None:
            return f"{before.pod} is starting"
        # The majority may still know its last life as ONLINE, so its own word counts, too.
        own = next((one.state for one in view.members if one.id == view.own_id), "")
        if member is None or member.state != "ONLINE" or own != "ONLINE":
            return f"{before.pod} is joining the group ({own or 'OFFLINE'})"
        if why_not_ready(pod):
            return f"{before.pod} is ONLINE, its pod not ready yet"
        return self._behind(seen.topology, before.pod)

    def _behind(self, topology: Topology, pod: str) -> str:
        """Return how far a member is behind what the primary has executed at this moment; empty for in step."""
        primary, member = topology.primary, topology.of_pod(pod)
        if primary is None or member is None:
            return f"a primary; {topology.summary()}"
        if primary.pod == pod:
            return ""
        try:
            gtids = gtid_set(primary.address, primary.pod, self._credentials, 5.0)
            with session(member.address, SERVER_PORT, self._credentials, what=pod) as connection:
                late = query(connection, "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (gtids, BEHIND_SECONDS))[0][0]
                queued = query(connection, QUEUE_SQL)
        except Temporary as error:
            return f"{pod}: {error}"
        return f"{pod}: ONLINE, {queued[0][0] if queued else '?'} transactions left to apply" if late else ""


def identities(servers: Mapping[str, Life], method: Method) -> dict[str, str]:
    """Return each server's identity, as a run notes it before it begins."""
    return {pod: life.identity(method) for pod, life in servers.items()}
