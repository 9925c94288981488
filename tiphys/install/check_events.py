"""Has an event been taken, and become no run?"""

from __future__ import annotations

from collections.abc import Iterator

from tiphys.install.findings import WARNING, Finding
from tiphys.install.kube import Kube
from tiphys.runs.errors import Forbidden, NotFound
from tiphys.runs.undelivered import letters


def look(kube: Kube) -> Iterator[Finding]:
    """Warn of dead letters, where there are some."""
    try:
        found = letters(kube.cluster, kube.namespace)
    except (Forbidden, NotFound):
        # `rights` says so, or the check of Argo that its kinds are not there.
        return
    if found:
        text = f"events that were taken and became no run: {len(found)}, the last at {found[-1].since}"
        yield Finding("undelivered", WARNING, text, (f"see which: tiphys undelivered -n {kube.namespace}",))
