"""The upgrade itself: a new version for the operator, Routers first, then one server after another, each verified."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from steps.errors import Refused, StepError, VerdictAborted
from steps.kube.client import Kube, Object
from steps.kube.pods import name_of
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, session
from steps.mysql.restart import Progress, restart
from steps.mysql.restart_plan import Wish
from steps.mysql.upgrade_back import OPERATOR_SECONDS, set_version, wait_for_operator, wait_for_routers
from steps.mysql.upgrade_images import ROUTER_CONTAINER, hold, hopeless, is_held
from steps.mysql.upgrade_path import Version
from steps.mysql.upgrade_survey import server_versions
from steps.mysql.waiting import Sight, look

ROUTER_VERSIONS_SQL = (
    "SELECT address, version FROM mysql_innodb_cluster_metadata.v2_routers"
    " WHERE last_check_in > NOW() - INTERVAL 1 DAY OR last_check_in IS NULL"
)


class WrongVersion(StepError):
    """A server or Router says that it is of another version than its image."""


@dataclass
class Roll:
    """One upgrade of one cluster, from its note on.

    Attributes:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        credentials: its administrator.
        workflow: whose note is on the cluster.
        target: the version.
        router: what ``spec.router.version`` is to be; None where the cluster has none.
        wish: which servers are left.
        on_progress: told of each server and switch, and of the Routers.
        stop_reason: asked all the time; a text stops the run.
        routers_seconds: how long the Routers may take.
    """

    kube: Kube
    cluster: str
    credentials: Credentials
    workflow: str
    target: Version
    router: str | None
    wish: Wish
    on_progress: Callable[[Progress], None]
    stop_reason: Callable[[], str]
    routers_seconds: float = 300.0
    _hopeless_since: dict[str, int] = field(default_factory=dict)

    def all(self) -> None:
        """Do it, and return when every server and every Router says that it is of the version.

        Raises:
            StepError: something did not come up, or is of another version; what was begun stays as it is.
        """
        version = str(self.target)
        hold(self.kube, self.cluster)
        log("asking", cluster=self.cluster, version=version)
        set_version(self.kube, self.cluster, version, self.router)
        wait_for_operator(self.kube, self.cluster, version, self.router, OPERATOR_SECONDS)
        if not is_held(self.kube.get("statefulsets", self.cluster)):
            raise Refused(
                f"The StatefulSet {self.cluster} did not keep its update strategy OnDelete, so it replaces pods in its "
                "own order: something else sets it. Let that leave it alone."
            )
        self.on_progress(Progress("routers", f"{self.cluster}-router", "router"))
        began = time.monotonic()
        wait_for_routers(
            self.kube,
            self.cluster,
            self.credentials,
            version,
            seconds=self.routers_seconds,
            check=self._routers_may_come,
        )
        took = time.monotonic() - began
        self.on_progress(Progress("routers-ready", f"{self.cluster}-router", "router", seconds=took))
        restart(
            self.kube,
            self.cluster,
            self.credentials,
            self.wish,
            workflow=self.workflow,
            on_progress=self._progress,
            stop_reason=self.stop_reason,
            hopeless=self._hopeless,
        )
        self.verify()

    def verify(self) -> Sight:
        """Make sure that the servers, the Routers and the group are as they should be, and return what was seen.

        Raises:
            WrongVersion: a server or a Router says that it is of another version.
        """
        sight = look(self.kube, self.cluster, self.credentials)
        if not sight.topology.is_whole:
            raise StepError(f"After the last server the group is not whole: {sight.topology.summary()}")
        said = server_versions(sight.topology, self.credentials)
        if wrong := {pod: version for pod, version in said.items() if version != self.target}:
            raise WrongVersion(self._wrong(wrong))
        routers = self._routers_say(sight)
        if other := {place: version for place, version in routers.items() if version != str(self.target)}:
            told = ", ".join(f"{place} says {version}" for place, version in other.items())
            raise WrongVersion(f"Not every Router is of version {self.target}: {told}.")
        log("verified", servers={pod: str(version) for pod, version in said.items()}, routers=routers)
        return sight

    def _routers_say(self, sight: Sight) -> dict[str, str]:
        """Return the version that each Router wrote into the cluster's metadata, by pod; those that wrote none not."""
        primary = sight.topology.primary
        assert primary is not None  # the group is whole
        addresses = {str(pod["status"].get("podIP")): name_of(pod) for pod in sight.routers}
        try:
            with session(primary.address, SERVER_PORT, self.credentials, what=primary.pod) as connection:
                rows = query(connection, ROUTER_VERSIONS_SQL)
        except StepError as error:
            log("routers-not-asked", why=str(error))
            return {}
        known = {*addresses, *addresses.values()}
        return {
            addresses.get(str(place), str(place)): str(version) for place, version in rows if version and place in known
        }

    def _progress(self, progress: Progress) -> None:
        """Tell of a server; one that is back is asked for its version before the next one goes."""
        self.on_progress(progress)
        if progress.kind != "restarted":
            return
        sight = look(self.kube, self.cluster, self.credentials)
        said = server_versions(sight.topology, self.credentials).get(progress.pod)
        if said != self.target:
            raise WrongVersion(self._wrong({progress.pod: said}))
        log("version", pod=progress.pod, version=str(said))

    def _wrong(self, wrong: dict[str, Version] | dict[str, Version | None]) -> str:
        told = ", ".join(f"{pod} says it is {version}" for pod, version in wrong.items())
        return (
            f"{told}, though its image is {self.target}: what runs is not what was asked for. See what the image "
            f"{self.target} really holds (kubectl describe pod {next(iter(wrong))})."
        )

    def _hopeless(self, pod: Object) -> str:
        return hopeless(pod, str(self.target))

    def _routers_may_come(self, sight: Sight) -> None:
        if reason := self.stop_reason():
            raise VerdictAborted(f"Stopped while Routers were replaced: {reason}.")
        for pod in sight.routers:
            if why := hopeless(pod, str(self.target), ROUTER_CONTAINER):
                name = name_of(pod)
                self._hopeless_since[name] = self._hopeless_since.get(name, 0) + 1
                if self._hopeless_since[name] > ROUTER_LOOKS:
                    raise StepError(
                        f"Router {name} does not come up with {self.target}: {why}. No server was touched, and the old "
                        "Routers serve on."
                    )


ROUTER_LOOKS = 20
"""Looks, two a second, at which a Router's pod has to be hopeless before it is given up."""
