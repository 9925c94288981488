"""Where a cluster's settings are written down: ``spec.mycnf`` of the InnoDBCluster, and the ConfigMap of its pods.

The operator makes the ConfigMap from ``spec.mycnf`` when it makes the cluster, and never looks at either again; each
pod copies the ConfigMap when it starts. Whoever changes settings has to write both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steps.errors import BadParameters, Refused, Temporary
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict
from steps.log import log
from steps.mysql.cnf import settings_of

EXTRA = "99-extra.cnf"
"""Key of the ConfigMap that holds ``spec.mycnf``."""
MAIN = ".cnf.in"
"""End of the key of the file that Oracle's operator makes each pod's own my.cnf of; it sets local_infile."""
TRIES = 20
"""How often a write is tried that another's came before: the operator writes to its clusters, too."""


@dataclass(frozen=True)
class Files:
    """What is written down.

    Attributes:
        mycnf: ``spec.mycnf``; None where the InnoDBCluster has none.
        file: what the ConfigMap holds of it.
    """

    mycnf: str | None
    file: str


def config_map(cluster: str) -> str:
    """Return the name of the ConfigMap that a cluster's pods copy."""
    return f"{cluster}-initconf"


def read_file(kube: Kube, cluster: str) -> tuple[str, str]:
    """Return what the ConfigMap holds of ``spec.mycnf``, and the version of the object."""
    found = kube.get("configmaps", config_map(cluster))
    return text_of(found), _version(found)


def text_of(found: Object) -> str:
    """Return what a cluster's ConfigMap holds of ``spec.mycnf``."""
    return str((found.get("data") or {}).get(EXTRA) or "")


def of_operator(kube: Kube, cluster: str) -> dict[str, str]:
    """Return the variables that other files of the ConfigMap set, which nobody is to change, with the file's key."""
    data = kube.get("configmaps", config_map(cluster)).get("data") or {}
    texts = {key: str(text) for key, text in data.items() if key.endswith((".cnf", MAIN)) and key != EXTRA}
    return {name: key for key, text in texts.items() for name in settings_of(text)}


def read(kube: Kube, cluster: str) -> Files:
    """Return what is written down now.

    Raises:
        BadParameters: the cluster or its ConfigMap does not exist.
    """
    mycnf = kube.cluster(cluster)["spec"].get("mycnf")
    return Files(None if mycnf is None else str(mycnf), read_file(kube, cluster)[0])


def write(kube: Kube, cluster: str, files: Files, instead_of: Sequence[Files]) -> None:
    """Write both down, the InnoDBCluster first, and read them back. May run twice.

    Args:
        kube: of the cluster's namespace.
        cluster: its name.
        files: what is to stand there.
        instead_of: what may stand there now: what anybody else has written meanwhile is not overwritten.

    Raises:
        Refused: something else stands there.
        Temporary: others kept writing, or it was not to be read back.
    """

    def spec() -> tuple[str | None, str]:
        found = kube.cluster(cluster)
        mycnf = found["spec"].get("mycnf")
        return None if mycnf is None else str(mycnf), _version(found)

    def to_spec(version: str) -> None:
        kube.patch("innodbclusters", cluster, {"spec": {"mycnf": files.mycnf}}, resource_version=version)

    def to_file(version: str) -> None:
        data = {"data": {EXTRA: files.file}}
        kube.patch("configmaps", config_map(cluster), data, resource_version=version)

    _put(f"spec.mycnf of {cluster}", files.mycnf, [one.mycnf for one in instead_of], spec, to_spec)
    what = f"{EXTRA} of ConfigMap {config_map(cluster)}"
    _put(what, files.file, [one.file for one in instead_of], lambda: read_file(kube, cluster), to_file)
    if read(kube, cluster) != files:
        raise Temporary(f"{cluster}: spec.mycnf or ConfigMap {config_map(cluster)} was changed again meanwhile.")


def _put(
    what: str,
    wanted: str | None,
    instead_of: Sequence[str | None],
    look: Callable[[], tuple[str | None, str]],
    patch: Callable[[str], None],
) -> None:
    for _ in range(TRIES):
        now, version = look()
        if now == wanted:
            return
        if now not in instead_of:
            raise Refused(
                f"{what} was changed by somebody else meanwhile, and is left as it is: {now!r}. Look who it was, "
                "then run set-config again."
            )
        try:
            patch(version)
        except Conflict:
            continue
        log("written", what=what)
        return
    raise Temporary(f"{what} could not be written: others changed it at every one of {TRIES} tries. Try again.")


def missing(error: BadParameters, cluster: str) -> BadParameters:
    """Return the error for a cluster without its ConfigMap."""
    return BadParameters(
        f"{error} The operator makes ConfigMap {config_map(cluster)} with the cluster; without it no pod can start."
    )


def _version(found: Object) -> str:
    return str(found["metadata"]["resourceVersion"])
