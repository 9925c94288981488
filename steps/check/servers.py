"""Judging each server by its own word: certificate, connections, clock, and how far it is behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from steps.check.finding import CRITICAL, OK, WARNING, Finding, unknown

CERTIFICATE_SOON, CERTIFICATE_NOW = timedelta(days=30), timedelta(days=7)
"""How long before its end a certificate is worth a warning, and worth waking somebody."""

CONNECTIONS_HIGH, CONNECTIONS_FULL = 0.80, 0.95
"""Share of max_connections in use."""

CLOCK_APART, CLOCK_FAR = 1.0, 30.0
"""Seconds between the clocks of two members."""

LAG_SECONDS = 10.0
"""Age of the transaction that a member applies, from which on it lags."""


@dataclass(frozen=True)
class Server:
    """What one server says of itself.

    Attributes:
        pod: it runs in.
        at: when it was asked, by the clock of the one who asked.
        error: why it does not answer; then nothing else is known.
        settings: its global variables, by name.
        persisted: what it will set at its next start, by name.
        certificate_until: end of the certificate it shows to clients; None where it shows none.
        connections: that are open.
        clock: seconds by which its clock is ahead of the one who asked.
        clock_error: by how much that may be wrong: half of the time the answer took.
        apply_seconds: age of the oldest transaction that it applies now; 0 where it applies none.
        stored_bytes: of its tables, logs and binary logs, as it counts them; None where it does not tell.
    """

    pod: str
    at: datetime
    error: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    persisted: Mapping[str, str] = field(default_factory=dict)
    certificate_until: datetime | None = None
    connections: int = 0
    clock: float = 0.0
    clock_error: float = 0.0
    apply_seconds: float = 0.0
    stored_bytes: int | None = None

    @property
    def connections_used(self) -> float:
        """Share of max_connections that is open."""
        return self.connections / max(1, int(self.settings.get("max_connections") or 151))

    @property
    def certificate_days(self) -> float | None:
        """Days until the certificate ends; None where there is none."""
        until = self.certificate_until
        return None if until is None else (until - self.at).total_seconds() / 86400


def answering(servers: Sequence[Server]) -> list[Server]:
    """Return the servers that told of themselves."""
    return [server for server in servers if not server.error]


def judge_certificates(servers: Sequence[Server]) -> list[Finding]:
    """Return the certificates that end soon."""
    found, good = [], []
    for server in answering(servers):
        until = server.certificate_until
        if until is None:
            found.append(unknown("certificates", f"{server.pod} shows no certificate", "is TLS on? SHOW STATUS"))
            continue
        left = until - server.at
        if left > CERTIFICATE_SOON:
            good.append(until)
            continue
        ended = left <= timedelta(0)
        found.append(
            Finding(
                "certificates",
                CRITICAL if left <= CERTIFICATE_NOW else WARNING,
                f"{server.pod}'s {'ended' if ended else 'ends'} on {until:%Y-%m-%d}"
                + ("" if ended else f", in {left.total_seconds() / 86400:.0f} days"),
                "clients that check it " + ("are refused" if ended else "will be refused from then on"),
                "renew it in the Secret that spec.tlsSecretName names (self-signed: in the data folder), "
                "then ALTER INSTANCE RELOAD TLS on that member",
            )
        )
    if good:
        found.append(Finding("certificates", OK, f"{len(good)} good until {min(good):%Y-%m-%d} at least"))
    return found


def judge_connections(servers: Sequence[Server]) -> list[Finding]:
    """Return the servers whose max_connections is near its end."""
    known = answering(servers)
    found = [
        Finding(
            "connections",
            CRITICAL if server.connections_used >= CONNECTIONS_FULL else WARNING,
            f"{server.pod}: {server.connections} of max_connections={server.settings.get('max_connections')}",
            "when they are used up, clients get error 1040, Too many connections",
            "look who holds them: SHOW PROCESSLIST; then set-config with settings='max_connections=...', or fewer "
            "connections in the clients' pools",
        )
        for server in known
        if server.connections_used >= CONNECTIONS_HIGH
    ]
    if known and not found:
        most = max(known, key=lambda server: server.connections_used)
        found.append(Finding("connections", OK, f"{most.connections_used:.0%} in use at most ({most.pod})"))
    return found


def judge_clocks(servers: Sequence[Server]) -> list[Finding]:
    """Compare the members' clocks; a difference within what the answers took is none."""
    known = answering(servers)
    if len(known) < 2:
        return []
    slow, fast = min(known, key=lambda server: server.clock), max(known, key=lambda server: server.clock)
    apart = fast.clock - slow.clock
    sure = apart - fast.clock_error - slow.clock_error
    if sure <= CLOCK_APART:
        error = fast.clock_error + slow.clock_error
        return [
            Finding(
                "clocks", OK, f"the members' differ by {max(0.0, sure):.2f} s or more, {apart + error:.2f} s at most"
            )
        ]
    return [
        Finding(
            "clocks",
            CRITICAL if sure > CLOCK_FAR else WARNING,
            f"{fast.pod} is {apart:.1f} s ahead of {slow.pod}",
            "after a failover NOW() jumps, and what expires or is ordered by time goes wrong",
            "look at the time service (chrony) on their nodes",
        )
    ]


def judge_lag(servers: Sequence[Server]) -> list[Finding]:
    """Return the servers that apply something old."""
    return [
        Finding(
            "lag",
            WARNING,
            f"{server.pod} applies a transaction that is {server.apply_seconds:.0f} s old",
            "reads there are stale, and a failover to it would take longer",
            "look for locks and large transactions there: SHOW PROCESSLIST",
        )
        for server in answering(servers)
        if server.apply_seconds > LAG_SECONDS
    ]


def judge_silence(servers: Sequence[Server]) -> list[Finding]:
    """Say which servers told nothing of themselves."""
    run = "see the findings about pods and members"
    return [unknown("servers", f"{server.pod}: {server.error}", run) for server in servers if server.error]
