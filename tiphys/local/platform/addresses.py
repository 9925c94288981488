"""Whether the addresses that a platform needs are free, and who has them if they are not."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tiphys.local.platform.processes import PROC, platform_of, read
from tiphys.local.settings import Settings

LISTEN, ESTABLISHED = 10, 1  # states of <net/tcp_states.h>


@dataclass(frozen=True)
class Socket:
    """One TCP socket as the kernel lists it: addresses as (host, port), state, and the inode that names it."""

    local: tuple[str, int]
    remote: tuple[str, int]
    state: int
    inode: str


def parse_sockets(table: str) -> list[Socket]:
    """Return the sockets in the text of ``/proc/net/tcp``."""
    sockets = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9:
            sockets.append(Socket(_address(fields[1]), _address(fields[2]), int(fields[3], 16), fields[9]))
    return sockets


def _address(field: str) -> tuple[str, int]:
    """Read an address as the kernel prints it: the host as one native-endian number, in hexadecimal."""
    host, port = field.split(":")
    return socket.inet_ntoa(struct.pack("=I", int(host, 16))), int(port, 16)


def sockets() -> list[Socket]:
    """Return this machine's TCP sockets (IPv4, which is all that a platform uses)."""
    return parse_sockets((PROC / "net" / "tcp").read_text())


def inodes_of(pid: int) -> set[str]:
    """Return the inodes of the sockets that process `pid` has open; none if we may not look."""
    found = set()
    try:
        for handle in (PROC / str(pid) / "fd").iterdir():
            try:
                target = os.readlink(handle)
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        return set()
    return found


def is_connected(pid: int, host: str, port: int, table: Iterable[Socket]) -> bool:
    """Tell whether process `pid` has a connection to that address."""
    wanted = {one.inode for one in table if one.state == ESTABLISHED and one.remote == (host, port)}
    return bool(wanted) and bool(wanted & inodes_of(pid))


def listens(host: str, port: int, table: Iterable[Socket]) -> bool:
    """Tell whether something takes connections at that address."""
    return any(one.state == LISTEN and one.local == (host, port) for one in table)


def listener(host: str, port: int) -> int | None:
    """Return the process that listens there (or at 0.0.0.0), if we may know."""
    inodes = {
        one.inode
        for one in sockets()
        if one.state == LISTEN and one.local[1] == port and one.local[0] in (host, "0.0.0.0")
    }
    for entry in PROC.iterdir():
        if entry.name.isdigit() and inodes & inodes_of(int(entry.name)):
            return int(entry.name)
    return None


def wanted_addresses(settings: Settings) -> dict[str, tuple[str, int]]:
    """Return the fixed addresses of a platform by what they are for."""
    return {
        "the API server": (settings.api_host, settings.api_port),
        "the S3 server": (settings.s3_host, settings.s3_port),
        "the webhooks": ("127.0.0.1", settings.webhook_port),
    }


def taken(settings: Settings) -> list[str]:
    """Return one sentence for each address of the platform that cannot be had, with what to do about it."""
    problems = []
    for purpose, (host, port) in wanted_addresses(settings).items():
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, port))
                trial.listen(1)
                continue
            except OSError as error:
                reason = error.strerror
        pid = listener(host, port)
        if pid is not None and platform_of(pid) == settings.home:
            continue  # a part of our own that outlived its supervisor: the next supervisor ends it first
        option = "--webhook-port" if host == "127.0.0.1" else "--network"
        problems.append(
            f"{host}:{port}, for {purpose}, cannot be had ({reason}{_holder(pid)}); choose another by "
            f"`tiphys up {option} N`, which is remembered"
        )
    return problems


def _holder(pid: int | None) -> str:
    """Describe who holds an address, and how to end it if it is a platform."""
    if pid is None or not (process := read(pid)):
        return ""
    home: Path | None = platform_of(pid)
    if home:
        return f": process {pid} of the platform in {home} has it, `tiphys --home {home} down` ends that one"
    return f": process {process} has it"
