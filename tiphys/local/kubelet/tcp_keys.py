"""Cuts a process's TCP connections from outside: its sockets get a signature that nobody else has.

With TCP-MD5 (RFC 2385, `TCP_MD5SIG_EXT` in tcp(7)) a socket signs every segment, and the kernel drops, without a
word, segments that are unsigned where a signature is expected, or signed where none is. So one key on every socket of
a pod cuts that pod off as a broken network does: silently, in both directions, established connections as well as new
ones, from one end only. Sockets of the same pod have the same key and go on talking to each other. When the key is
taken away, the retransmissions of both ends get through, and the connections go on.

Another process's socket is reached through `pidfd_getfd` (Linux 5.6). Who may ptrace the process may do that: root,
and the same user as far as `kernel.yama.ptrace_scope` allows it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from contextlib import suppress

_TCP_MD5SIG_EXT = 32  # <linux/tcp.h>, since Linux 4.13
_PREFIX = 1  # TCP_MD5SIG_FLAG_PREFIX
_PIDFD_GETFD = 438  # the same number on every architecture
_LISTEN = 10  # TCP_LISTEN
_STREAMS = (socket.AF_INET, socket.AF_INET6)
_libc = ctypes.CDLL(None, use_errno=True)

MAY_NOT = (
    "this user may not reach into the pod's processes (pidfd_getfd: {error}); run the platform as root, or: "
    "sysctl -w kernel.yama.ptrace_scope=0"
)
NO_KEYS = "this kernel has no TCP-MD5 signatures (setsockopt TCP_MD5SIG_EXT: {error}); it needs CONFIG_TCP_MD5SIG"


class CannotCutError(Exception):
    """Connections cannot be cut on this machine; the message says why and what to do."""


def sockets(pid: int) -> dict[int, int]:
    """Return the sockets of a process: inode to descriptor; nothing where it has ended.

    Raises:
        CannotCutError: another user's process.
    """
    found = {}
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            with suppress(OSError):  # closed meanwhile
                where = os.readlink(f"{folder}/{name}")
                if where.startswith("socket:["):
                    found[int(where[8:-1])] = int(name)
    except (FileNotFoundError, ProcessLookupError):
        return {}
    except PermissionError as error:
        raise CannotCutError(MAY_NOT.format(error=error)) from error
    return found


def borrow(pid: int, descriptor: int) -> socket.socket | None:
    """Return another process's TCP socket as one of our own, or None where it is closed or of another kind.

    Raises:
        CannotCutError: the kernel does not allow it.
        OSError: this process has too many files open.
    """
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        ours = _libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
        number = ctypes.get_errno()
    finally:
        os.close(process)
    if ours < 0:
        if number in (errno.EBADF, errno.ESRCH):
            return None
        if number != errno.EPERM:
            raise OSError(number, os.strerror(number))
        raise CannotCutError(MAY_NOT.format(error=os.strerror(number)))
    try:
        found = socket.socket(fileno=ours)
    except OSError:  # the number was reused for what is no socket
        os.close(ours)
        return None
    if found.family in _STREAMS and found.type & 0xF == socket.SOCK_STREAM:
        os.set_inheritable(found.fileno(), False)
        return found
    found.close()
    return None


def sign(connection: socket.socket, key: bytes) -> None:
    """Give a socket a key: from now on it talks only to sockets with the same one. May be done again.

    Raises:
        CannotCutError: this kernel cannot do it.
    """
    for family in _families(connection):
        try:
            _set(connection, family, 0, b"", key)
        except OSError as error:
            raise CannotCutError(NO_KEYS.format(error=error)) from error


def unsign(connection: socket.socket) -> bool:
    """Take the key from a socket; return whether it had one."""
    scopes: list[tuple[int, int, bytes]] = [(each, 0, b"") for each in _families(connection)]
    with suppress(OSError):
        # What a listening socket with a key has accepted got a key of its own for that one peer.
        host = connection.getpeername()[0]
        plain = host.removeprefix("::ffff:") if "." in host else host
        version, prefix = (socket.AF_INET6, 128) if ":" in plain else (socket.AF_INET, 32)
        scopes.append((version, prefix, socket.inet_pton(version, plain)))
    had = False
    for family, prefix, address in scopes:
        try:
            _set(connection, family, prefix, address, b"")
            had = True
        except OSError:  # it has none
            continue
    return had


def listens(connection: socket.socket) -> bool:
    """Tell whether a socket waits for connections."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _LISTEN


def slipped(connection: socket.socket) -> int:
    """Return how many bytes of data a connection has brought across so far, both ways, as far as this end knows."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
    if len(info) < 136:
        return 0
    acknowledged, received = struct.unpack_from("=QQ", info, 120)
    return int(max(0, acknowledged - 1) + received)  # the first one that was acknowledged is the SYN


def _families(connection: socket.socket) -> list[int]:
    # A socket of IPv6 may talk IPv4 too, with keys of its own: those of addresses such as ::ffff:10.0.0.1.
    return [socket.AF_INET6, socket.AF_INET] if connection.family == socket.AF_INET6 else [socket.AF_INET]


def _set(connection: socket.socket, family: int, prefix: int, address: bytes, key: bytes) -> None:
    """Set a key for all peers within a prefix; an empty one removes it (struct tcp_md5sig of <linux/tcp.h>)."""
    if connection.family == socket.AF_INET:
        where = struct.pack("=HH4s", socket.AF_INET, 0, address or bytes(4))
    else:
        mapped = b"\0" * 10 + b"\xff\xff" + (address or bytes(4))
        full = mapped if family == socket.AF_INET else (address or bytes(16))
        where = struct.pack("=HHI16s", socket.AF_INET6, 0, 0, full)
    value = where.ljust(128, b"\0") + struct.pack("=BBHi", _PREFIX, prefix, len(key), 0) + key.ljust(80, b"\0")
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG_EXT, value)
