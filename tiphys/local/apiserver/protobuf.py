r"""Kubernetes' protobuf bodies, as far as `kubectl create NAME ...` and `kubectl auth can-i` send them.

Those commands use client-go's typed clients, which send nothing else. A body is the four bytes ``k8s\0`` and a
message with the object's type and the object. Field numbers are those of Kubernetes' generated.proto files. A
field that is not in the tables is refused, never dropped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tiphys.local.kube_errors import ApiError

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class _Field:
    """A field of a message: its JSON name, its type, and whether it may come several times."""

    name: str
    type: str = "string"
    repeated: bool = False


_Message = dict[int, _Field]

_META: _Message = {
    1: _Field("name"),
    2: _Field("generateName"),
    3: _Field("namespace"),
    5: _Field("uid"),
    6: _Field("resourceVersion"),
    7: _Field("generation", "int"),
    11: _Field("labels", "map:string"),
    12: _Field("annotations", "map:string"),
    14: _Field("finalizers", repeated=True),
}
_MESSAGES: dict[str, _Message] = {
    "ObjectMeta": _META,
    "ConfigMap": {
        1: _Field("metadata", "ObjectMeta"),
        2: _Field("data", "map:string"),
        3: _Field("binaryData", "map:bytes"),
        4: _Field("immutable", "bool"),
    },
    "Secret": {
        1: _Field("metadata", "ObjectMeta"),
        2: _Field("data", "map:bytes"),
        3: _Field("type"),
        4: _Field("stringData", "map:string"),
        5: _Field("immutable", "bool"),
    },
    "Namespace": {1: _Field("metadata", "ObjectMeta")},
    "ServiceAccount": {1: _Field("metadata", "ObjectMeta")},
    "SelfSubjectAccessReview": {1: _Field("metadata", "ObjectMeta"), 2: _Field("spec", "ReviewSpec")},
    "ReviewSpec": {
        1: _Field("resourceAttributes", "ResourceAttributes"),
        2: _Field("nonResourceAttributes", "PathAttributes"),
    },
    "ResourceAttributes": {
        number: _Field(name)
        for number, name in enumerate(
            ("namespace", "verb", "group", "version", "resource", "subresource", "name"), start=1
        )
    },
    "PathAttributes": {1: _Field("path"), 2: _Field("verb")},
    "Deployment": {1: _Field("metadata", "ObjectMeta"), 2: _Field("spec", "DeploymentSpec")},
    "DeploymentSpec": {
        1: _Field("replicas", "int"),
        2: _Field("selector", "LabelSelector"),
        3: _Field("template", "PodTemplateSpec"),
    },
    "LabelSelector": {1: _Field("matchLabels", "map:string")},
    "PodTemplateSpec": {1: _Field("metadata", "ObjectMeta"), 2: _Field("spec", "PodSpec")},
    "PodSpec": {2: _Field("containers", "Container", repeated=True)},
    "Container": {
        1: _Field("name"),
        2: _Field("image"),
        3: _Field("command", repeated=True),
        4: _Field("args", repeated=True),
        6: _Field("ports", "ContainerPort", repeated=True),
    },
    "ContainerPort": {1: _Field("name"), 3: _Field("containerPort", "int"), 4: _Field("protocol")},
}
_OBJECTS = ("ConfigMap", "Secret", "Namespace", "ServiceAccount", "Deployment", "SelfSubjectAccessReview")


def decode(data: bytes) -> dict[str, Any]:
    """Return the object in a protobuf body.

    Raises:
        ApiError: 415 if it is of a kind or has a field that is not known here, 400 if it is damaged.
    """
    if not data.startswith(_MAGIC):
        raise ApiError(400, "BadRequest", "the body is not Kubernetes protobuf: it does not begin with k8s\\0")
    try:
        envelope = {number: value for number, _, value in _fields(data[len(_MAGIC) :])}
        names = {number: value.decode() for number, _, value in _fields(envelope[1])}
        kind = names[2]
        if kind not in _OBJECTS:
            raise _unsupported(kind)
        obj = _read(kind, envelope.get(2, b""), kind)
    except (IndexError, KeyError, AttributeError, UnicodeDecodeError, ValueError) as error:
        raise ApiError(400, "BadRequest", f"the protobuf body is damaged: {error!r}") from error
    return {"apiVersion": names[1], "kind": kind, **obj}


def _unsupported(what: str) -> ApiError:
    return ApiError(
        415,
        "UnsupportedMediaType",
        f"{what} is not understood as protobuf here; send JSON or YAML: "
        "kubectl create ... --dry-run=client -o yaml | kubectl create -f -",
    )


def _read(message: str, data: bytes, path: str) -> dict[str, Any]:
    known, found = _MESSAGES[message], dict[str, Any]()
    for number, _, value in _fields(data):
        field = known.get(number)
        if field is None:
            # Go writes an empty message for every struct that is not set, such as a zero time or status.
            if value in (b"", 0) or not _says_something(value):
                continue
            raise _unsupported(f"field number {number} of {path}")
        if field.type.startswith("map:"):
            pair = {key: item for key, _, item in _fields(value)}
            text = pair.get(2, b"")
            shown = base64.b64encode(text).decode() if field.type == "map:bytes" else text.decode()
            found.setdefault(field.name, {})[pair.get(1, b"").decode()] = shown
            continue
        read = _value(field, value, f"{path}.{field.name}")
        if field.repeated:
            found.setdefault(field.name, []).append(read)
        elif read != "":
            found[field.name] = read
    return found


def _value(field: _Field, value: Any, path: str) -> Any:
    if field.type == "string":
        return value.decode()
    if field.type == "int":
        return int(value)
    if field.type == "bool":
        return bool(value)
    return _read(field.type, value, path)


def _says_something(value: Any) -> bool:
    """Tell whether a value of unknown meaning holds anything but empty messages, empty texts and zeros."""
    if isinstance(value, int):
        return value != 0
    try:
        return any(_says_something(inner) for _, _, inner in _fields(value))
    except (IndexError, ValueError):
        return True


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("a field reaches beyond the end")
            value, at = data[at : at + size], at + size
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        else:
            raise ValueError(f"unknown wire type {wire}")
        yield number, wire, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
