"""What each drill of a game day has left in the bucket: its report, for programs and for people."""

from __future__ import annotations

import json
from typing import Any

from steps.backup.objects import Bucket, NoObject
from steps.game_day.state import Child
from steps.log import log


def report_of(bucket: Bucket, child: Child) -> dict[str, Any] | None:
    """Return a drill's report.json; None where there is none, or none that can be read."""
    if not child.report:
        return None
    try:
        found: Any = json.loads(bucket.get(child.report))
    except NoObject:
        log("no-report", run=child.run, key=child.report)
        return None
    except ValueError as error:
        log("report-not-read", run=child.run, key=child.report, why=str(error))
        return None
    return found if isinstance(found, dict) else None


def copy_page(bucket: Bucket, child: Child, target: str) -> bool:
    """Copy a drill's page beside the game day's; tell whether there was one."""
    if not child.page:
        return False
    try:
        bucket.put(target, bucket.get(child.page))
    except NoObject:
        return False
    return True
