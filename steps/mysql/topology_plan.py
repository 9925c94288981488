"""What speaks against another topology of a group, and what it would mean. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from steps.mysql.topology import Topology

OPEN_SECONDS = 10
"""A transaction that has been open for longer than this is told of."""
INCREMENT = 7
"""auto_increment_increment in multi-primary mode, as group replication sets it; more where there are more members."""


class Mode(StrEnum):
    """Who takes writes."""

    MULTI = "multi-primary"
    SINGLE = "single-primary"


@dataclass(frozen=True)
class Finding:
    """Something that speaks against the switch.

    Attributes:
        name: short; what `accept` names.
        seen: what was seen.
        means: what it means in the mode that is asked for.
        run: what to do about it.
        acceptable: whether a person may say that it is all right: no data is at risk.
    """

    name: str
    seen: str
    means: str
    run: str
    acceptable: bool = False

    def __str__(self) -> str:
        """Say it for people, in one line."""
        accepted = f"; or accept={self.name}" if self.acceptable else ""
        return f"{self.name}: {self.seen}. {self.means}: {self.run}{accepted}"


ACCEPTABLE = ("tables-without-key", "cascading-foreign-keys", "serializable-sessions", "open-transactions")
"""Findings that may be accepted: the server refuses such writes, or rolls them back with an error; none is lost."""


@dataclass(frozen=True)
class Server:
    """What one ONLINE member says of itself.

    Attributes:
        single: ``group_replication_single_primary_mode``.
        isolation: global ``transaction_isolation``.
        serializable: sessions of clients in SERIALIZABLE.
        increment: global ``auto_increment_increment``.
        offset: global ``auto_increment_offset``.
        server_id: of it.
        open_seconds: ages of transactions that are open.
        stages: of a change of the group that is under way.
    """

    single: bool = True
    isolation: str = "REPEATABLE-READ"
    serializable: int = 0
    increment: int = 1
    offset: int = 1
    server_id: int = 0
    open_seconds: tuple[int, ...] = ()
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What was seen of a group.

    Attributes:
        topology: by the majority.
        servers: each ONLINE member by pod.
        silent: ONLINE members that could not be asked, and why.
        keyless: tables without a primary key, nor a unique one that is NOT NULL.
        engines: tables that are not InnoDB, with their engine.
        cascades: foreign keys that change rows by themselves, with their table.
    """

    topology: Topology
    servers: Mapping[str, Server] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    keyless: Sequence[str] = ()
    engines: Sequence[str] = ()
    cascades: Sequence[str] = ()

    @property
    def mode(self) -> Mode | None:
        """The mode in which every member that answers says it is; None where they differ or none answers."""
        said = {server.single for server in self.servers.values()}
        return None if len(said) != 1 else Mode.SINGLE if said == {True} else Mode.MULTI


def findings(survey: Survey, wanted: Mode) -> list[Finding]:
    """Return what speaks against switching to a mode now."""
    found = [*_group(survey, wanted), *_busy(survey, wanted)]
    return found if wanted is Mode.SINGLE else [*found, *_tables(survey), *_sessions(survey)]


def _group(survey: Survey, wanted: Mode) -> list[Finding]:
    topology, found = survey.topology, []
    majority = topology.expected // 2 + 1
    whole = topology.online == len(topology.members) == topology.expected
    enough = topology.online >= majority and topology.online == len(topology.members)
    if not (whole if wanted is Mode.MULTI else enough):
        silent = "; ".join(f"{pod}: {why}" for pod, why in topology.unreachable.items())
        needed = topology.expected if wanted is Mode.MULTI else majority
        found.append(
            Finding(
                "members",
                f"{topology.summary()}{'; ' + silent if silent else ''}, expected {needed} of {topology.expected} "
                "ONLINE and none that is joining or UNREACHABLE",
                "A member that is away keeps the other mode and could not join again",
                "run check-cluster, and bring it back first",
            )
        )
    if survey.silent:
        told = "; ".join(f"{pod}: {why}" for pod, why in survey.silent.items())
        found.append(Finding("silent", told, "Nobody knows how it is set", "run check-cluster, then this again"))
    versions = sorted({member.version for member in topology.members})
    if len(versions) > 1 and wanted is Mode.MULTI:
        found.append(
            Finding(
                "versions",
                f"members run {', '.join(versions)}",
                "In multi-primary mode members of a newer version take no writes",
                "finish the upgrade first",
            )
        )
    return found


def _busy(survey: Survey, wanted: Mode) -> list[Finding]:
    found = []
    for pod, server in sorted(survey.servers.items()):
        if server.stages:
            found.append(
                Finding(
                    "running-action",
                    f"{pod}: {', '.join(server.stages)}",
                    "Another change of the group is under way, and it takes one at a time",
                    "wait for it to end",
                )
            )
        old = [age for age in server.open_seconds if age >= OPEN_SECONDS]
        if old:
            means = (
                "The switch may wait for it"
                if wanted is Mode.MULTI
                else "Where its member is not the primary afterwards, its COMMIT fails (error 1290): it is rolled back"
            )
            found.append(
                Finding(
                    "open-transactions",
                    f"{pod}: {len(old)} open for {OPEN_SECONDS} s or more, the oldest for {max(old)} s",
                    means,
                    "let it end",
                    True,
                )
            )
    return found


def _tables(survey: Survey) -> list[Finding]:
    found = []
    if survey.engines:
        found.append(
            Finding(
                "engines",
                f"{_some(survey.engines)}",
                "Only InnoDB can be certified: the group refuses writes to them (error 3098)",
                "ALTER TABLE ... ENGINE=InnoDB",
            )
        )
    if survey.keyless:
        found.append(
            Finding(
                "tables-without-key",
                f"{_some(survey.keyless)}",
                "Conflicts are found by key: the group refuses writes to them (error 3098), as it does in either mode",
                "ALTER TABLE ... ADD PRIMARY KEY",
                True,
            )
        )
    if survey.cascades:
        found.append(
            Finding(
                "cascading-foreign-keys",
                f"{_some(survey.cascades)}",
                "Rows that a cascade changes are certified by nobody, so in multi-primary mode the group refuses every "
                "write to the child tables, and those to the parents that cascade (error 3098)",
                "make them RESTRICT and let the application delete the children",
                True,
            )
        )
    return found


def _sessions(survey: Survey) -> list[Finding]:
    found = []
    strict = sorted(pod for pod, server in survey.servers.items() if server.isolation == "SERIALIZABLE")
    if strict:
        found.append(
            Finding(
                "isolation",
                f"transaction_isolation is SERIALIZABLE on {', '.join(strict)}",
                "In multi-primary mode the group refuses every write of such a session (error 3098)",
                "SET PERSIST transaction_isolation = 'READ-COMMITTED'",
            )
        )
    sessions = {pod: server.serializable for pod, server in sorted(survey.servers.items()) if server.serializable}
    if sessions and not strict:
        found.append(
            Finding(
                "serializable-sessions",
                ", ".join(f"{number} on {pod}" for pod, number in sessions.items()),
                "They have set SERIALIZABLE for themselves; in multi-primary mode their writes fail (error 3098)",
                "have that application use READ COMMITTED",
                True,
            )
        )
    return found


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def against(found: Collection[Finding], accepted: Collection[str]) -> list[Finding]:
    """Return the findings that nobody has accepted."""
    return [one for one in found if not (one.acceptable and one.name in accepted)]


def numbering(servers: Mapping[str, Server]) -> dict[str, tuple[int, int]]:
    """Return auto_increment_increment and auto_increment_offset for each pod; empty where they are good as they are.

    Group replication sets an increment of 7 and the server's id as the offset. The operator's ids begin at 1000, and
    MySQL's manual says that an offset greater than the increment is ignored. 9.7.4 gave distinct numbers all the same,
    on which nobody should have to rely.
    """
    increments = {server.increment for server in servers.values()}
    offsets = {server.offset for server in servers.values()}
    increment = max(increments, default=1)
    if len(increments) == 1 and increment >= len(servers) == len(offsets) and max(offsets) <= increment:
        return {}
    increment = max(INCREMENT, len(servers))
    return {pod: (increment, number) for number, pod in enumerate(sorted(servers), start=1)}
