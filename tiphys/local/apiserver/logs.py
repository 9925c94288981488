"""GET pods/NAME/log: the file that the kubelet lets a container write, whole, its end, or as it grows."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from tiphys.local.apiserver.containers import chosen, log_file, status_of
from tiphys.local.apiserver.errors import bad_request, not_allowed, not_found
from tiphys.local.apiserver.requests import Target, is_true, whole_number
from tiphys.local.apiserver.store import Store
from tiphys.local.kube_errors import ApiError

_BLOCK = 256 * 1024
_LOOK_SECONDS = 0.1
_REFUSED = ("sinceSeconds", "sinceTime", "timestamps", "stream")


async def handle_log(request: web.Request, target: Target, store: Store, home: Path) -> web.StreamResponse:
    """Answer with a container's log as plain text."""
    if request.method != "GET":
        raise not_allowed()
    for name in _REFUSED:
        if request.query.get(name, "false") not in ("false", "0", "", "All"):
            raise bad_request(f"{name} is not known here: the local kubelet keeps lines without their time")
    record = store.get(target.kind, target.namespace, target.name or "")
    if record is None:
        raise not_found(target.kind, target.name or "")
    pod = record.obj
    container = chosen(pod, request.query.get("container", ""))
    previous = is_true(request, "previous")
    follow = is_true(request, "follow") and not previous
    tail, limit = whole_number(request, "tailLines"), whole_number(request, "limitBytes")
    path = log_file(home, pod, container, previous)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise _nothing_yet(pod["metadata"]["name"], container, previous, status_of(pod, container)) from None
    with file:
        if tail is not None:
            file.seek(_start_of_tail(file, tail))
        answer = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        try:
            await answer.prepare(request)
            left = limit if limit is not None else -1
            while left:
                # Asked before the read: what was written before the end is then read before we stop.
                ended = not follow or _has_ended(store, pod["metadata"]["uid"], container, file, path)
                sent = False
                while left and (data := file.read(_BLOCK if left < 0 else min(left, _BLOCK))):
                    await answer.write(data)
                    sent, left = True, left if left < 0 else left - len(data)
                if ended:
                    break
                if not sent:
                    await asyncio.sleep(_LOOK_SECONDS)
            await answer.write_eof()
        except ConnectionError:
            pass  # the reader has seen enough
    return answer


def _nothing_yet(pod: str, container: str, previous: bool, status: dict[str, object]) -> ApiError:
    if previous:
        return bad_request(f'previous terminated container "{container}" in pod "{pod}" not found')
    state = status.get("state")
    waiting = state.get("waiting") if isinstance(state, dict) else None
    reason = (waiting or {}).get("reason") or "ContainerCreating"
    return bad_request(f'container "{container}" in pod "{pod}" is waiting to start: {reason}')


def _start_of_tail(file: BinaryIO, lines: int) -> int:
    """Return the offset at which the last `lines` lines begin, reading from the end."""
    at = file.seek(0, os.SEEK_END)
    if lines == 0:
        return at
    found, tail = 0, b""
    while at > 0:
        step = min(_BLOCK, at)
        at -= step
        file.seek(at)
        block = file.read(step)
        # A newline at the very end closes the last line; it begins none.
        body = block[:-1] if not tail and block.endswith(b"\n") else block
        tail = block
        count = body.count(b"\n")
        if found + count >= lines:
            place = len(body)
            for _ in range(lines - found):
                place = body.rindex(b"\n", 0, place)
            return at + place + 1
        found += count
    return 0


def _has_ended(store: Store, uid: str, container: str, file: BinaryIO, path: Path) -> bool:
    """Tell whether nothing more will be written to an open log: the container ended, or another began."""
    found = store.by_uid(uid)
    if found is None:
        return True
    state = status_of(found[1].obj, container).get("state") or {}
    if "terminated" in state:
        return True
    try:
        return os.fstat(file.fileno()).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return True
