"""All checks of a cluster, in the order in which one would mend what they find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.install import (
    check_cluster,
    check_controllers,
    check_events,
    check_images,
    check_overlays,
    check_rights,
    check_s3,
    upstream,
)
from tiphys.install.findings import Finding
from tiphys.install.given import S3
from tiphys.install.kube import Kube

Object = dict[str, Any]


def examine(kube: Kube, objects: list[Object], s3: S3 | None) -> Iterator[Finding]:
    """Yield what each check found, as it is found.

    Args:
        kube: the cluster.
        objects: that an install would apply.
        s3: values of an install that is to come, or None for those that are in the cluster.
    """
    yield check_cluster.kubernetes(kube)
    yield check_rights.look(kube, objects)
    for part in upstream.ALL:
        kinds = check_cluster.kinds(kube, part)
        yield kinds
        # Without its kinds it is not installed, and that was said.
        if not kinds.blocks:
            yield check_controllers.look(kube, part)
    yield check_cluster.storage_class(kube)
    yield from check_cluster.namespace(kube)
    yield from check_events.look(kube)
    yield from check_overlays.look(kube, objects)
    yield from check_images.look(kube, objects)
    yield check_s3.look(kube, s3)
