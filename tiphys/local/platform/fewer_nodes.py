"""What happens to nodes that a platform was brought up without: Node objects go, their pods start elsewhere."""

from __future__ import annotations

import contextlib
import logging

from tiphys.local.client import Kube, NotFound
from tiphys.local.kubelet.nodes import node_names
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)


async def retire(kube: Kube, settings: Settings) -> list[str]:
    """Remove the nodes beyond ``settings.nodes`` and the pods bound to them; return the nodes' names.

    In a cluster somebody deletes the Node of a machine that is gone, and the pod garbage collector then
    force-deletes its pods; here the machine is gone because `tiphys up` was told so.
    """
    wanted = set(node_names(settings))
    gone = [node["metadata"]["name"] for node in await kube.list("nodes") if node["metadata"]["name"] not in wanted]
    for name in gone:
        with contextlib.suppress(NotFound):
            await kube.delete("nodes", name)
        for pod in await kube.list("pods", fields=f"spec.nodeName={name}"):
            meta = pod["metadata"]
            with contextlib.suppress(NotFound):
                await kube.delete("pods", meta["name"], meta["namespace"], grace=0)
        log.info("retired a node", extra={"node": name})
    return gone
