"""Reading what Kubernetes holds of a cluster: volumes, budgets, nodes, notes, its written configuration."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from steps.check.placement import Note, Place
from steps.check.servers import Server
from steps.check.storage import Volume, parse_df, quantity
from steps.drill import book, intent
from steps.errors import StepError
from steps.kube import cordon
from steps.kube.client import Kube, Object
from steps.kube.pods import name_of
from steps.kube.workflows import phase_of
from steps.mysql import settings_files

DF_SECONDS = 15.0


def read_config(kube: Kube, cluster: str) -> tuple[str | None, str]:
    """Return what the cluster's ConfigMap holds of ``spec.mycnf``, and why that cannot be told (None, and why)."""
    try:
        return settings_files.text_of(kube.get("configmaps", settings_files.config_map(cluster))), ""
    except StepError as error:
        return None, str(error)


def read_volumes(kube: Kube, pods: Sequence[Object], servers: Sequence[Server]) -> list[Volume]:
    """Return how full the servers' volumes are: by ``df`` in their containers, and by what they say they store."""
    told = {server.pod: server for server in servers}
    try:
        claims = {name_of(claim): claim for claim in kube.all("persistentvolumeclaims")}
    except StepError:
        claims = {}

    def look(pod: Object) -> Volume:
        name, server = name_of(pod), told.get(name_of(pod))
        claim = _claim(pod)
        held = claims.get(claim) or {}
        size = ((held.get("status") or {}).get("capacity") or {}).get("storage")
        size = size or (((held.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")
        disk, error = None, "the server does not answer"
        if server is not None and not server.error:
            disk, error = _df(kube, name, server.settings.get("datadir", "/var/lib/mysql"))
        total, used = disk or (None, 0)
        stored = server.stored_bytes if server is not None else None
        return Volume(name, claim, quantity(str(size or "")), stored, total, used, error)

    if not pods:
        return []
    with ThreadPoolExecutor(max_workers=min(8, len(pods))) as pool:
        return list(pool.map(look, pods))


def _claim(pod: Object) -> str:
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        if volume.get("name") == "datadir" and volume.get("persistentVolumeClaim"):
            return str(volume["persistentVolumeClaim"]["claimName"])
    return ""


def _df(kube: Kube, pod: str, folder: str) -> tuple[tuple[int, int] | None, str]:
    try:
        done = kube.execute(pod, "mysql", ["df", "-Pk", folder], timeout=DF_SECONDS)
    except StepError as error:
        return None, str(error)
    if done.exit_code or (found := parse_df(done.stdout)) is None:
        return None, f"df ended with exit code {done.exit_code}: {(done.stderr or done.stdout).strip()[:200]}"
    return found, ""


def read_place(kube: Kube, cluster: Object, servers: Sequence[Object], routers: Sequence[Object]) -> Place:
    """Return what Kubernetes holds beside the pods; what this account may not read is None there."""
    unread, budgets, nodes = "", None, None
    try:
        budgets = kube.all("poddisruptionbudgets")
        nodes = kube.all("nodes")
    except StepError as error:
        unread = str(error)
    homes = {str((pod.get("spec") or {}).get("nodeName") or "") for pod in servers}
    held = None if nodes is None else {name_of(one): cordon.read(one) for one in nodes if cordon.is_cordoned(one)}
    mine = None if held is None else {name: note for name, note in held.items() if note or name in homes}
    return Place(servers, routers, budgets, _notes(kube, cluster, nodes or []), mine, unread)


def _notes(kube: Kube, cluster: Object, nodes: Sequence[Object]) -> list[Note]:
    """Return all notes of drills and runbooks that concern the cluster, each once for its workflow and place."""
    found: list[Note] = []
    name = name_of(cluster)
    if (noted := intent.read(cluster)) is not None:
        found.append(_note(kube, f"cluster {name}", noted.workflow, noted.fault, noted.since, noted.expires))
    try:
        entries = [entry for entry in book.entries(kube) if entry.cluster == name]
    except StepError:
        entries = []
    for one in (entry.intent for entry in entries):
        if noted is None or one.workflow != noted.workflow:
            found.append(_note(kube, "the book of drills", one.workflow, one.fault, one.since, one.expires))
    for node in nodes:
        if (cord := cordon.read(node)) is not None and cord.namespace in ("", kube.namespace):
            found.append(_note(kube, f"node {name_of(node)}", cord.workflow, "a cordon", cord.since, cord.expires))
    return found


def _note(kube: Kube, where: str, workflow: str, what: str, since: str, expires: str) -> Note:
    from steps.drill.reap import is_over

    runs = kube.all("workflows", fields=f"metadata.name={workflow}") if workflow else []
    phases = {name_of(run): phase_of(run) for run in runs}
    if workflow in phases:
        state = f"whose run is {phases[workflow] or 'new'}"
    else:
        state = f"which counts until {expires}" if expires else "whose run is gone"
    over = is_over(intent.Intent(workflow, what, since, expires=expires), phases, datetime.now(UTC))
    return Note(where, workflow, what, since, state, over)
