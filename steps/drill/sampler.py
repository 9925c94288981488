"""Looks at members and pods during a drill: threads with short timeouts that connect again for ever."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from steps.drill.clock import Clock
from steps.drill.samples import ROUTER_CONTAINER, SERVER_CONTAINER, MemberSample, PodSample, pod_sample
from steps.errors import StepError
from steps.kube.client import Kube, Object
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, connect, query
from steps.mysql.topology import view_of

MEMBER_SECONDS = 0.1
"""How often each member is asked."""
POD_SECONDS = 0.25
"""How often the pods are looked at."""

UPTIME_SQL = "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Uptime'"


class MemberSampler(threading.Thread):
    """Asks one server for its view of the group, directly and not through the Router.

    Args:
        pod: name.
        address: returns the pod's IP of now, empty for none: a pod that was replaced has another one.
        credentials: a user that the server knows.
        clock: the drill's clock.
        tell: called with every sample, in this thread.
        port: of the server.
    """

    def __init__(
        self,
        pod: str,
        address: Callable[[], str],
        credentials: Credentials,
        clock: Clock,
        tell: Callable[[MemberSample], None],
        port: int = SERVER_PORT,
    ) -> None:
        super().__init__(name=f"sampler-{pod}", daemon=True)
        self._pod, self._address, self._credentials, self._port = pod, address, credentials, port
        self._clock, self._tell = clock, tell
        self._stopped = threading.Event()
        self._connection: Any = None
        self._connected_to = ""
        self._server_started: float | None = None

    def run(self) -> None:
        """Sample until stopped."""
        due = self._clock()
        while not self._stopped.wait(max(0.0, due - self._clock())):
            self._tell(self._sample())
            due = max(due + MEMBER_SECONDS, self._clock())
        self._drop()

    def stop(self) -> None:
        """Ask the thread to end after the sample that is under way."""
        self._stopped.set()

    def _sample(self) -> MemberSample:
        start = self._clock()
        address = self._address()
        if not address:
            self._drop()
            return MemberSample(self._pod, start, self._clock(), None, "the pod has no address")
        try:
            if self._connection is None or self._connected_to != address:
                self._drop()
                self._connection = connect(address, self._port, self._credentials, timeout=1.0, read_timeout=1.0)
                self._connected_to = address
                uptime = float(query(self._connection, UPTIME_SQL)[0][0])
                self._server_started = self._clock() - uptime
            view = view_of(self._connection)
        except Exception as error:  # mostly the driver's; it meets half an answer with others, too
            self._drop()
            return MemberSample(self._pod, start, self._clock(), None, f"{getattr(error, 'errno', 0)}: {error}"[:160])
        return MemberSample(self._pod, start, self._clock(), view, "", self._server_started)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.shutdown()
        self._connection, self._server_started = None, None


class PodSampler(threading.Thread):
    """Looks at a cluster's server pods and Routers and notes every change.

    Attributes:
        samples: the changes, in order of time.
        current: the latest sample of each server's pod that was ever seen.
        routers: likewise of each Router's pod.
        failures: how often the API server did not answer.
    """

    def __init__(self, kube: Kube, cluster: str, clock: Clock) -> None:
        super().__init__(name="sampler-pods", daemon=True)
        self._kube, self._cluster, self._clock = kube, cluster, clock
        self._stopped = threading.Event()
        self.samples: list[PodSample] = []
        self.current: dict[str, PodSample] = {}
        self.routers: dict[str, PodSample] = {}
        self.failures = 0

    def look(self) -> None:
        """Look once."""
        self.current = self._changed(self.current, self._kube.servers(self._cluster), SERVER_CONTAINER)
        self.routers = self._changed(self.routers, self._kube.routers(self._cluster), ROUTER_CONTAINER)

    def _changed(self, known: dict[str, PodSample], pods: list[Object], container: str) -> dict[str, PodSample]:
        """Note what changed, and return the latest samples."""
        found = {str(pod["metadata"]["name"]): pod for pod in pods}
        now = self._clock()
        latest = dict(known)
        for name in {*known, *found}:
            sample = pod_sample(now, found[name], container) if name in found else PodSample(now, name, "")
            if name not in known or known[name][1:] != sample[1:]:
                self.samples.append(sample)
                latest[name] = sample
        return latest

    def address(self, pod: str) -> str:
        """Return the IP of a pod as last seen, empty for none."""
        sample = self.current.get(pod)
        return sample.address if sample else ""

    def run(self) -> None:
        """Look until stopped."""
        while not self._stopped.wait(POD_SECONDS):
            try:
                self.look()
            except Exception as error:  # of any kind: whoever stops looking takes what was seen last for what is
                if not isinstance(error, StepError):
                    log("pods-not-read", error=f"{type(error).__name__}: {error}")
                self.failures += 1

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped.set()


class GroupSampler:
    """All samplers of one cluster.

    Attributes:
        pods: what the API server says.
        samples: what the members say, in order of arrival.
    """

    def __init__(self, kube: Kube, cluster: str, credentials: Credentials, clock: Clock) -> None:
        self.pods = PodSampler(kube, cluster, clock)
        self.samples: list[MemberSample] = []
        self._credentials, self._clock = credentials, clock
        self._members: list[MemberSampler] = []

    def start(self) -> None:
        """Look at the pods once, then start to sample them and the server in each.

        Raises:
            StepError: the API server does not answer.
        """
        self.pods.look()
        for pod in sorted(self.pods.current):
            # A list's append is atomic, so the threads may share it.
            address = functools.partial(self.pods.address, pod)
            self._members.append(MemberSampler(pod, address, self._credentials, self._clock, self.samples.append))
        for thread in (self.pods, *self._members):
            thread.start()

    def stop(self) -> None:
        """Stop all threads; waits for the samples that are under way, at most some seconds."""
        self.pods.stop()
        for member in self._members:
            member.stop()
        for thread in (self.pods, *self._members):
            if thread.ident is not None:  # none was started where the API server did not answer
                thread.join(5.0)
