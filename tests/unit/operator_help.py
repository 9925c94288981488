"""Servers as values, for the tests of the operator's decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tiphys.local.operator.decide import seeds
from tiphys.local.operator.gtid import GtidSet
from tiphys.local.operator.member import Member, Peer, View

GROUP = "aaaaaaaa-0000-4000-8000-000000000000"


def uuid(ordinal: int) -> str:
    return f"{ordinal:08d}-0000-4000-8000-000000000000"


def address(ordinal: int) -> str:
    return f"127.9.{ordinal + 1}.1"


def gtids(last: int) -> GtidSet:
    return GtidSet.parse(f"{GROUP}:1-{last}" if last else "")


def peers(primary: int | None = 0, **states: str) -> tuple[Peer, ...]:
    """A group's view: ``peers(0, m0="ONLINE", m1="UNREACHABLE")``."""
    found = []
    for name, state in states.items():
        ordinal = int(name[1:])
        found.append(Peer(uuid(ordinal), address(ordinal), state, "PRIMARY" if ordinal == primary else "SECONDARY"))
    return tuple(found)


def outside(ordinal: int, last: int = 10, **more: Any) -> View:
    own = Peer(uuid(ordinal), address(ordinal), more.pop("state", "OFFLINE"), "")
    return View(uuid(ordinal), "9.7.4", gtids(last), empty=not last, peers=(own,), **more)


def inside(ordinal: int, seen: tuple[Peer, ...], last: int = 10, **more: Any) -> View:
    more.setdefault("seeds", seeds(peer.address for peer in seen))
    return View(uuid(ordinal), "9.7.4", gtids(last), peers=seen, view_id="1:1", **more)


def member(ordinal: int, view: View | None = None, **more: Any) -> Member:
    values: dict[str, Any] = {"configured": True, "running": True, "guarded": True, **more}
    return Member(f"demo-{ordinal}", f"uid-{ordinal}", ordinal, address(ordinal), view=view, **values)


def going(of: Member, seconds: float = 1.0) -> Member:
    return replace(of, deleting=seconds)
