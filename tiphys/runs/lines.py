"""The steps' JSON log lines as people read them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

_KNOWN = ("time", "event", "workflow", "step")


def readable(line: str) -> str:
    """Return a log line for people: time, event, details; what is not one of the steps' lines stays as it is."""
    try:
        fields: Any = json.loads(line)
    except ValueError:
        return line
    if not isinstance(fields, dict) or "event" not in fields:
        return line
    if fields["event"] == "progress":
        return f"{_time(fields)} {progress(fields)}".strip()
    details = "  ".join(f"{key}={_short(value)}" for key, value in fields.items() if key not in _KNOWN)
    return f"{_time(fields)} {fields['event']}  {details}".strip()


def error_in(lines: list[str]) -> str:
    """Return what a step said last about its own failure, or ""."""
    for line in reversed(lines):
        try:
            fields: Any = json.loads(line)
        except ValueError:
            if line.startswith("Error: "):
                return line.removeprefix("Error: ")
            continue
        if isinstance(fields, dict) and fields.get("event") in ("failed", "crashed"):
            return str(fields.get("message") or "")
    return ""


def progress(fields: dict[str, Any]) -> str:
    """Return a progress line: how far, how fast, how long yet."""
    percent = float(fields.get("percent") or 0)
    bar = ("█" * int(percent / 10)).ljust(10, "·")
    rate = f"{float(fields.get('rate') or 0):,.0f} {fields.get('unit', '')}/s"
    return f"{fields.get('what', '')} {bar} {percent:.0f}%  {rate}  ETA {float(fields.get('eta_seconds') or 0):.0f}s"


def _time(fields: dict[str, Any]) -> str:
    try:
        return f"{datetime.fromisoformat(str(fields['time'])).astimezone():%H:%M:%S}"
    except (KeyError, ValueError):
        return ""


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
