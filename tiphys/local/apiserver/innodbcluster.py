"""Schema of InnoDBCluster (mysql.oracle.com/v2), written by hand after the operator's CRD of release 9.1.

Only what the pack and the stand-in operator read is described below the first level; the first level is whole,
so that a mistyped field is found. The CRD allows 40 characters in a name, the operator 28 (it derives longer
names); the operator's rule is the one that counts.
"""

from __future__ import annotations

import re
from typing import Any

from tiphys.local.apiserver.errors import Cause, bad, required

NAME_LIMIT = 28

_VERSION = r"^\d+\.\d+\.\d+(-.+)?"
_STRING: dict[str, Any] = {"type": "string"}
_OBJECT: dict[str, Any] = {"type": "object"}
_STRINGS: dict[str, Any] = {"type": "array", "items": _STRING}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["secretName"],
    "properties": {
        "secretName": _STRING,
        "tlsCASecretName": _STRING,
        "tlsSecretName": _STRING,
        "tlsUseSelfSigned": {"type": "boolean", "default": False},
        "version": {"type": "string", "pattern": _VERSION},
        "edition": {"type": "string", "pattern": "^(community|enterprise)$"},
        "imageRepository": _STRING,
        "imagePullPolicy": _STRING,
        "imagePullSecrets": {"type": "array", "items": _OBJECT},
        "serviceAccountName": _STRING,
        "baseServerId": {"type": "integer", "minimum": 0, "maximum": 4294967195, "default": 1000},
        "datadirVolumeClaimTemplate": _OBJECT,
        "datadirPermissions": _OBJECT,
        "mycnf": _STRING,
        "instances": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
        "podSpec": _OBJECT,
        "podAnnotations": _OBJECT,
        "podLabels": _OBJECT,
        "keyring": _OBJECT,
        "initDB": _OBJECT,
        "router": {
            "type": "object",
            "properties": {
                "instances": {"type": "integer", "minimum": 0, "default": 1},
                "tlsSecretName": _STRING,
                "version": {"type": "string", "pattern": _VERSION},
                "podSpec": _OBJECT,
                "podAnnotations": _OBJECT,
                "podLabels": _OBJECT,
                "bootstrapOptions": _STRINGS,
                "options": _STRINGS,
                "routingOptions": _OBJECT,
            },
        },
        "service": _OBJECT,
        "metrics": _OBJECT,
        "backupProfiles": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "backupSchedules": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "logs": _OBJECT,
        "readReplicas": {"type": "array", "items": _OBJECT},
        "serviceFqdnTemplate": _STRING,
    },
}

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def fill(obj: dict[str, Any]) -> None:
    """Fill in the schema's defaults, in place."""
    spec = obj.get("spec")
    if isinstance(spec, dict):
        _fill(SCHEMA, spec)


def faults(obj: dict[str, Any]) -> list[Cause]:
    """Return what is wrong with an InnoDBCluster."""
    found: list[Cause] = []
    name = obj["metadata"].get("name")
    if isinstance(name, str) and len(name) > NAME_LIMIT:
        found.append(bad("metadata.name", name, f"an InnoDBCluster's name has at most {NAME_LIMIT} characters"))
    if "spec" not in obj:
        return [*found, required("spec")]
    return [*found, *_faults(SCHEMA, obj["spec"], "spec")]


def unknown_fields(obj: dict[str, Any]) -> list[str]:
    """Return the paths of the fields that the schema does not know."""
    spec = obj.get("spec")
    return _unknown(SCHEMA, spec, "spec") if isinstance(spec, dict) else []


def _fill(schema: dict[str, Any], value: dict[str, Any]) -> None:
    for name, inner in schema.get("properties", {}).items():
        if "default" in inner and value.get(name) is None:
            value[name] = inner["default"]
        elif isinstance(value.get(name), dict):
            _fill(inner, value[name])


def _faults(schema: dict[str, Any], value: Any, path: str) -> list[Cause]:
    wanted = schema["type"]
    fits = type(value) in _TYPES[wanted]  # not isinstance: True is no integer here
    if not fits:
        seen = next((name for name, types in _TYPES.items() if type(value) in types), type(value).__name__)
        return [Cause(path, "FieldValueTypeInvalid", f'Invalid value: "{seen}": {path} must be of type {wanted}')]
    found: list[Cause] = []
    if "minimum" in schema and value < schema["minimum"]:
        found.append(bad(path, value, f"should be greater than or equal to {schema['minimum']}"))
    if "maximum" in schema and value > schema["maximum"]:
        found.append(bad(path, value, f"should be less than or equal to {schema['maximum']}"))
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(bad(path, value, f"should match '{schema['pattern']}'"))
    if wanted == "object":
        found += [required(f"{path}.{name}") for name in schema.get("required", ()) if value.get(name) is None]
        for name, inner in schema.get("properties", {}).items():
            if value.get(name) is not None:
                found += _faults(inner, value[name], f"{path}.{name}")
    if wanted == "array":
        for index, item in enumerate(value):
            found += _faults(schema["items"], item, f"{path}[{index}]")
    return found


def _unknown(schema: dict[str, Any], value: dict[str, Any], path: str) -> list[str]:
    known = schema.get("properties")
    if known is None:
        return []
    found = [f"{path}.{name}" for name in value if name not in known]
    for name, inner in known.items():
        if isinstance(value.get(name), dict):
            found += _unknown(inner, value[name], f"{path}.{name}")
    return found
