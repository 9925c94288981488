"""What a drill measured, as one JSON file: everything that verification, verdict and report are made from.

Times are seconds on the drill's monotonic clock; `started_at` is what the wall clock said at its zero.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steps.drill.attempts import Attempt, Outcome
from steps.drill.clock import Stall
from steps.drill.evidence import Evidence, Process, Proof, Target
from steps.drill.ledger import ClientRecord, Recorded
from steps.drill.samples import MemberSample, Observed, PodSample, observe
from steps.drill.users import Request
from steps.errors import BadParameters
from steps.mysql.topology import Member, View

SCHEMA = 1
"""Version of the file; raised when a reader of the old one would misread the new one."""


@dataclass
class Measurement(Recorded):
    """One drill's measurement.

    Attributes:
        run: name of the workflow; also of the ledger's rows.
        namespace: of the cluster.
        cluster: name of the InnoDBCluster.
        expected: number of servers that the cluster asks for.
        fault: name of the fault.
        event: what the fault is in the past tense, for people ("the primary was killed").
        plan: what was to be done to whom, for people.
        parameters: of the drill, by name.
        started_at: ISO time of the clock's zero.
        target: what the fault was aimed at.
        steady_from: since when everything succeeded before the fault.
        injected_at: when the injection began; None where it never did.
        injected_until: when the call that injects returned.
        injection_error: what the call said, empty for success.
        witness: what the injection itself saw of its effect; empty for nothing.
        released_at: when a fault that lasts was ended; None where it was not, or does not last.
        fault_ended: what showed at the end that the fault was over; empty where nothing was injected.
        still_acting: why the fault may go on after the drill; empty where it does not.
        undone: what an abort has put back at once.
        proof: that the fault landed, or None.
        ended_at: when the clients were stopped.
        end: recovered, timeout, aborted or not-landed.
        end_reason: for people.
        clients: what each client did.
        members: samples of the servers.
        pods: changes of the pods.
        stalls: when the measuring process itself did not run.
        latest_beat: largest delay of its heartbeat, in seconds.
        holes: what else could not be seen, for people.
        settings: the cluster's settings that matter for recovery, by name.
        versions: name to version of what took part.
        evictions: of a drain, each pod's way off the node (seconds since it began).
        requests: what the application's users asked and got; empty where no application was watched.
        placement: after a drain, the members that shared a node, and what was done (:mod:`steps.drill.drain_spread`).
    """

    run: str
    namespace: str
    cluster: str
    expected: int
    fault: str
    event: str
    plan: str
    parameters: dict[str, Any]
    started_at: str
    target: Target
    steady_from: float = 0.0
    injected_at: float | None = None
    injected_until: float | None = None
    injection_error: str = ""
    witness: str = ""
    released_at: float | None = None
    proof: Proof | None = None
    ended_at: float = 0.0
    end: str = ""
    end_reason: str = ""
    clients: list[ClientRecord] = field(default_factory=list)
    members: list[MemberSample] = field(default_factory=list)
    pods: list[PodSample] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    latest_beat: float = 0.0
    holes: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    evictions: list[dict[str, Any]] = field(default_factory=list)
    placement: list[dict[str, Any]] = field(default_factory=list)
    fault_ended: str = ""
    still_acting: str = ""
    undone: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def observed(self) -> list[Observed]:
        """Return the group over time, as the members' samples add up."""
        return list(observe(self.cluster, self.expected, self.members))

    def evidence(self) -> Evidence:
        """Return everything sampled; only for a measurement with an injection."""
        assert self.injected_at is not None
        return Evidence(
            self.injected_at, self.pods, self.members, self.observed(), self.witness, self.injected_until or 0.0
        )


def _rounded(at: float | None) -> float | None:
    return None if at is None else round(at, 5)


def to_json(measurement: Measurement) -> dict[str, Any]:
    """Return a measurement as JSON values; the views of the group, of which few differ, are listed once."""
    views: list[Any] = []
    index: dict[View, int] = {}

    def numbered(view: View | None) -> int | None:
        if view is None:
            return None
        if view not in index:
            index[view] = len(views)
            views.append(dataclasses.asdict(view))
        return index[view]

    shallow = {f.name: getattr(measurement, f.name) for f in dataclasses.fields(measurement)}
    return {
        "schema": SCHEMA,
        **shallow,
        "target": dataclasses.asdict(measurement.target),
        "proof": dataclasses.asdict(measurement.proof) if measurement.proof else None,
        "clients": [
            {
                "client": client.client,
                "kind": client.kind,
                "died": client.died,
                "attempts": [
                    [*a[:1], _rounded(a.start), _rounded(a.end), *a[3:6], _rounded(a.connected), a.late]
                    for a in client.attempts
                ],
            }
            for client in measurement.clients
        ],
        "members": [
            [s.pod, _rounded(s.start), _rounded(s.end), numbered(s.view), s.error, _rounded(s.server_started)]
            for s in measurement.members
        ],
        "pods": [list(sample) for sample in measurement.pods],
        "stalls": [dataclasses.asdict(stall) for stall in measurement.stalls],
        "requests": [[_rounded(r.start), _rounded(r.end), r.status, r.error] for r in measurement.requests],
        "views": views,
    }


def from_json(values: dict[str, Any]) -> Measurement:
    """Return the measurement that `to_json` wrote.

    Raises:
        BadParameters: it is another version's.
    """
    values = dict(values)
    if (schema := values.pop("schema", None)) != SCHEMA:
        raise BadParameters(f"This measurement has schema {schema}, this program reads {SCHEMA}: use its own version.")
    views = [
        View(view["own_id"], tuple(Member(**member) for member in view["members"]), view["writable"])
        for view in values.pop("views")
    ]
    proof = values.pop("proof")
    clients = [
        ClientRecord(
            client["client"],
            client["kind"],
            [Attempt(a[0], a[1], a[2], Outcome(a[3]), *a[4:]) for a in client["attempts"]],
            client["died"],
        )
        for client in values.pop("clients")
    ]
    members = [
        MemberSample(s[0], s[1], s[2], None if s[3] is None else views[s[3]], *s[4:]) for s in values.pop("members")
    ]
    return Measurement(
        **{
            **values,
            "target": _target(values["target"]),
            "proof": Proof(**proof) if proof else None,
            "clients": clients,
            "members": members,
            "pods": [PodSample(*sample) for sample in values["pods"]],
            "stalls": [Stall(**stall) for stall in values["stalls"]],
            "requests": [Request(*request) for request in values.get("requests") or ()],
        }
    )


def _target(values: dict[str, Any]) -> Target:
    before, router, process = PodSample(*values["before"]), values.get("router"), values.get("process")
    made = {
        "before": before,
        "router": PodSample(*router) if router else None,
        "process": Process(**process) if process else None,
        "also": tuple(_target(one) for one in values.get("also") or ()),
    }
    return Target(**{**values, **made})


def save(measurement: Measurement, path: Path) -> None:
    """Write a measurement as gzipped JSON."""
    path.write_bytes(gzip.compress(json.dumps(to_json(measurement), separators=(",", ":")).encode(), mtime=0))


def load(path: Path) -> Measurement:
    """Read a measurement.

    Raises:
        BadParameters: the file is none.
    """
    try:
        values = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise BadParameters(f"{path} is no measurement of drill-measure: {error}") from error
    return from_json(values)
