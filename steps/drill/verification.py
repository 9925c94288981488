"""Look for every acknowledged write on every member, once the members have caught up."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import mysql.connector

from steps.drill import rows
from steps.drill.attempts import Outcome
from steps.drill.ledger import Recorded
from steps.errors import BadParameters, Temporary
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, root_credentials, session
from steps.mysql.topology import Member, Topology, read_topology

CATCH_UP_SECONDS = 60
"""How long a member may take to apply what the primary has; 15 to 30 s after a fault are nothing unusual."""
FIND_SECONDS = 60.0
"""How long a primary is waited for."""


@dataclass(frozen=True)
class Copy:
    """The ledger as one member has it.

    Attributes:
        pod: of the member.
        server: its `server_uuid`.
        role: PRIMARY or SECONDARY.
        state: in the majority's view.
        caught_up: whether it applied everything that the primary had, in time.
        seconds: how long that took.
        rows: ids of this run on it.
        note: why it was not read, empty if it was.
    """

    pod: str
    server: str
    role: str
    state: str
    caught_up: bool
    seconds: float
    rows: int
    note: str = ""


@dataclass(frozen=True)
class Lost:
    """An acknowledged write that is missing.

    Attributes:
        client: its client.
        sequence: its number.
        missing_on: pods of the members that lack it.
    """

    client: int
    sequence: int
    missing_on: list[str]


@dataclass(frozen=True)
class Verification:
    """What became of the writes.

    Attributes:
        copies: one for each member that should have been read.
        expected: number of servers that the cluster asks for.
        acknowledged: number of acknowledged writes.
        lost: acknowledged and missing on the primary or on any other ONLINE member after it caught up.
        in_doubt: writes whose fate the client does not know.
        in_doubt_present: of these, how many are on the primary.
        refused_present: refused writes that are there all the same; more than 0 means that `refused` was no proof.
        unchecked: what could not be looked at, for people; no write counts as safe because of it.
    """

    copies: list[Copy] = field(default_factory=list)
    expected: int = 0
    acknowledged: int = 0
    lost: list[Lost] = field(default_factory=list)
    in_doubt: int = 0
    in_doubt_present: int = 0
    refused_present: int = 0
    unchecked: list[str] = field(default_factory=list)

    @property
    def in_doubt_absent(self) -> int:
        """Number of writes in doubt that are not on the primary."""
        return self.in_doubt - self.in_doubt_present


def compare(
    record: Recorded, copies: list[Copy], found: dict[str, set[tuple[int, int]]], expected: int
) -> Verification:
    """Compare what clients believe with what members have.

    Args:
        record: of what the clients did.
        copies: every member, read or not; the primary is the one with that role.
        found: pod to ids on it, for the members that were read.
        expected: number of servers that the cluster asks for.
    """
    acknowledged = record.writes(Outcome.ACKNOWLEDGED)
    missing: dict[tuple[int, int], list[str]] = {}
    for pod in sorted(found):
        for lost in acknowledged - found[pod]:
            missing.setdefault(lost, []).append(pod)
    primary = next((copy.pod for copy in copies if copy.role == "PRIMARY" and copy.pod in found), None)
    there = found[primary] if primary is not None else set()
    in_doubt = record.writes(Outcome.IN_DOUBT)
    unchecked = [f"{copy.pod or copy.server}: {copy.note}" for copy in copies if copy.note]
    if primary is None:
        unchecked.append("no primary could be read")
    if len(copies) < expected:
        unchecked.append(f"only {len(copies)} of {expected} members are in the group")
    return Verification(
        copies=copies,
        expected=expected,
        acknowledged=len(acknowledged),
        lost=[Lost(*key, missing_on=missing[key]) for key in sorted(missing)],
        in_doubt=len(in_doubt),
        in_doubt_present=len(in_doubt & there),
        refused_present=len(record.writes(Outcome.REFUSED) & there),
        unchecked=unchecked,
    )


def verify(kube: Kube, record: Recorded, *, keep_ledger: bool = False) -> Verification:
    """Read the ledger on every member and compare. Can be done again: the rows are deleted by whoever undoes the run.

    A step that deleted them itself and was lost before its outputs were kept would find every write lost the next time.
    A cluster without a primary gives a verification in which everything is unchecked: a drill that ended badly needs
    its report most.

    Raises:
        Temporary: the primary went away meanwhile.
    """
    cluster = kube.cluster(record.cluster)
    credentials = root_credentials(kube, cluster)
    topology = _with_primary(kube, record.cluster, credentials)
    if topology.primary is None:
        silent = [f"{pod}: {why}" for pod, why in topology.unreachable.items()]
        log("no-primary", group=topology.summary())
        return replace(compare(record, [], {}, topology.expected), unchecked=[topology.summary(), *silent])
    with session(topology.primary.address, SERVER_PORT, credentials, what=topology.primary.pod) as primary:
        executed = str(query(primary, "SELECT @@global.gtid_executed")[0][0])
    copies: list[Copy] = []
    found: dict[str, set[tuple[int, int]]] = {}
    with ThreadPoolExecutor(max_workers=len(topology.members)) as pool:
        futures = [pool.submit(_read, m, topology, credentials, executed, record.run) for m in topology.members]
        for future in futures:
            copy, ids = future.result()
            copies.append(copy)
            if ids is not None:
                found[copy.pod] = ids
            log("member-read", pod=copy.pod, rows=copy.rows, caught_up=copy.caught_up, note=copy.note)
    if keep_ledger:
        with session(topology.primary.address, SERVER_PORT, credentials, what=topology.primary.pod) as primary:
            rows.keep(primary, record.run)
    return compare(record, copies, found, topology.expected)


def _with_primary(kube: Kube, cluster: str, credentials: Credentials) -> Topology:
    """Return the topology once it has a primary, or as it is when the time is up."""
    limit = time.monotonic() + FIND_SECONDS
    while True:
        topology = read_topology(kube, cluster, credentials=credentials)
        if time.monotonic() > limit or (topology.primary is not None and topology.primary.address):
            return topology
        time.sleep(1.0)


def _read(
    member: Member, topology: Topology, credentials: Credentials, executed: str, run: str
) -> tuple[Copy, set[tuple[int, int]] | None]:
    """Wait until a member has what the primary had, then read its ids; None where it cannot be read."""
    role = "PRIMARY" if topology.primary is not None and member.id == topology.primary.id else "SECONDARY"
    base = Copy(member.pod, member.id, role, member.state, False, 0.0, 0)
    if member.state != "ONLINE":
        return replace(base, note=f"it is {member.state}, not ONLINE"), None
    started = time.monotonic()
    try:
        limit = CATCH_UP_SECONDS + 30
        with session(member.address, SERVER_PORT, credentials, what=member.pod, read_timeout=limit) as connection:
            waited = query(connection, "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (executed, CATCH_UP_SECONDS))
            seconds = round(time.monotonic() - started, 3)
            if int(waited[0][0]) != 0:
                return replace(base, note=f"it did not catch up with the primary within {CATCH_UP_SECONDS} s"), None
            ids = rows.ids(connection, run)
            return Copy(base.pod, base.server, role, base.state, True, seconds, len(ids)), ids
    except (Temporary, mysql.connector.Error) as error:
        return replace(base, note=f"it could not be read: {error}"), None


def save(verification: Verification, path: Path) -> None:
    """Write a verification as JSON."""
    path.write_text(json.dumps(asdict(verification), indent=1) + "\n")


def load(path: Path) -> Verification:
    """Read a verification.

    Raises:
        BadParameters: the file is none.
    """
    try:
        values = json.loads(path.read_text())
        values["copies"] = [Copy(**copy) for copy in values["copies"]]
        values["lost"] = [Lost(**lost) for lost in values["lost"]]
        return Verification(**values)
    except (ValueError, KeyError, TypeError) as error:
        raise BadParameters(f"{path} is no verification of drill-verify: {error}") from error
