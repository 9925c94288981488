"""Server-side printing: the Table that kubectl shows, one row an object, columns from the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tiphys.local.apiserver import cells
from tiphys.local.apiserver.store import Record, dump
from tiphys.local.apiserver.watches import Renderer
from tiphys.local.registry import Column, Kind

_NAME = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}


def wanted(request: web.Request) -> bool:
    """Tell whether the client asks for a table rather than for objects."""
    accepted = request.headers.get("Accept", "").replace(" ", "").split(",")
    return any("as=Table" in item and "v=v1;" in f"{item};" for item in accepted)


def include_object(request: web.Request) -> str:
    """Return what of the object goes along with its row: None, Metadata or Object."""
    return request.query.get("includeObject", "Metadata")


def table(
    kind: Kind, records: Sequence[Record], meta: dict[str, Any], include: str = "Metadata", headings: bool = True
) -> dict[str, Any]:
    """Return the table of some objects."""
    definitions = [
        {
            "name": column.name,
            "type": column.type if column.type != "date" else "string",
            "format": "",
            "description": "",
            "priority": 1 if column.wide else 0,
        }
        for column in kind.columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [_NAME, *definitions] if headings else None,
        "rows": [_row(kind, record, include) for record in records],
    }


def event_renderer(request: web.Request, kind: Kind) -> Renderer:
    """Return a renderer of watch events as tables; only a stream's first one carries the headings."""
    include, first = include_object(request), True

    def render(record: Record) -> bytes:
        nonlocal first
        headings, first = first, False
        return dump(table(kind, [record], {"resourceVersion": str(record.version)}, include, headings))

    return render


def _row(kind: Kind, record: Record, include: str) -> dict[str, Any]:
    obj = record.obj
    row: dict[str, Any] = {"cells": [obj["metadata"]["name"], *(_cell(kind, column, obj) for column in kind.columns)]}
    if include == "Object":
        row["object"] = obj
    elif include == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
    return row


def _cell(kind: Kind, column: Column, obj: dict[str, Any]) -> Any:
    value = cells.value(column.value, obj)
    if column.type == "date":
        return "" if kind.custom and value is None else cells.age(value)
    if column.type == "integer":
        return (
            value if isinstance(value, int) else 0 if value is None and not column.value.startswith(".spec") else value
        )
    if value is None and kind.plural == "poddisruptionbudgets":
        return "N/A"
    if value is None or value == "":
        return "<none>" if column.wide or column.value.startswith((".spec", ".status.podIP")) else ""
    return value if isinstance(value, str) else str(value)
