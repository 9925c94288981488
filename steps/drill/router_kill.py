"""The fault `router-kill`: the process of one Router ends at once, and its clients have to connect again."""

from __future__ import annotations

from steps.drill.evidence import Evidence, Proof, Target, another_container, router_back
from steps.drill.fault import Fault, Scene
from steps.drill.samples import ROUTER_CONTAINER, PodSample, pod_sample
from steps.errors import StepError
from steps.mysql.topology import Topology

# A container's own main process is number 1, or what TIPHYS_MAIN_PID says where it is not (on the local platform, whose
# /proc also has everybody else's processes). On a cluster an entry script may be number 1, and the Router its child.
_SCRIPT = """pid=$TIPHYS_MAIN_PID
if [ -z "$pid" ]; then
  for folder in /proc/[0-9]*; do
    read -r name < "$folder/comm" && [ "$name" = mysqlrouter ] && pid=${folder#/proc/} && break
  done
fi
[ -n "$pid" ] || { echo "no process mysqlrouter" >&2; exit 1; }
if [ "$pid" = 1 ]; then kill -6 1; else kill -9 "$pid"; fi
"""


class RouterKill(Fault):
    """A Router's process is killed: what a lost Router costs the clients that came through it."""

    name = "router-kill"
    event = "a Router was killed"
    removes_member = False

    def guard(self, topology: Topology) -> list[str]:
        """Add nothing: no member is touched, and that every Router is ready holds for every fault."""
        return []

    def router(self, scene: Scene) -> PodSample | None:
        """Choose the first Router that is ready, by name."""
        samples = [pod_sample(0.0, pod, ROUTER_CONTAINER) for pod in scene.kube.routers(scene.cluster)]
        return next((sample for sample in sorted(samples, key=lambda one: one.pod) if sample.ready), None)

    def obstacles(self, target: Target) -> list[str]:
        """Refuse where no Router is ready any more."""
        return [] if target.router is not None else ["no Router is ready, so there is none to kill"]

    def describe(self, target: Target) -> str:
        """Return what will be done."""
        assert target.router is not None
        return (
            f"kill -9 of mysqlrouter in container {ROUTER_CONTAINER} of {target.router.pod} (SIGABRT where it is "
            "process 1); no server stops, and clients of the other Routers go on"
        )

    def inject(self, scene: Scene, target: Target) -> str | None:
        """Kill the process from within its container; the Router has a handler for SIGABRT, so that ends process 1."""
        assert target.router is not None
        done = scene.kube.execute(target.router.pod, ROUTER_CONTAINER, ["sh", "-c", _SCRIPT], timeout=10.0)
        if done.exit_code:
            raise StepError(
                f"The kill in {target.router.pod} failed with exit code {done.exit_code}: {done.stderr[:300]}"
            )
        return None

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by the Router's container: another one runs, or that very one has ended."""
        return another_container(target.router, ROUTER_CONTAINER, evidence) if target.router else None

    def recovered(self, target: Target, evidence: Evidence) -> bool:
        """Tell whether the Router runs again, in another container than before, and is ready."""
        return router_back(target, evidence) is not None
