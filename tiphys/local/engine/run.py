"""One pass over one workflow: its nodes, what is known, and what is to be done about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tiphys.local.engine.locks import Locks
from tiphys.local.engine.model import (
    Json,
    PodView,
    SpecError,
    any_int,
    failed,
    fulfilled,
    merged,
    node_id,
    pod_name,
    stamp,
)
from tiphys.local.engine.scope import Variables
from tiphys.local.engine.spec import Lookup, find_template
from tiphys.local.engine.supported import check_spec, without_nulls


class NodeError(Exception):
    """A node could not be run; it is already marked so, and its parent ends with this message."""


class ParallelismReached(Exception):
    """The node has to wait until others are done; nothing was created."""


@dataclass(frozen=True)
class Place:
    """Where a node stands.

    Attributes:
        context: where template names are looked up: empty for the workflow's own, or ``namespaced/<template>``.
        boundary: id of the Steps node around it.
        on_exit: whether it belongs to the exit handler.
        limit: how many nodes of the boundary may be underway at once, None without a limit.
    """

    context: str
    boundary: str = ""
    on_exit: bool = False
    limit: int | None = None


@dataclass
class Run:
    """State of one pass; `workflow` is its own copy and is changed in place."""

    workflow: Json
    spec: Json
    globals: Variables
    pods: Mapping[str, PodView]
    lookup: Lookup
    locks: Locks
    now: datetime
    create: list[Json] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    wake: datetime | None = None

    @classmethod
    def copy_of(cls, workflow: Json) -> Json:
        """Return a copy of `workflow` of which metadata and status may be changed.

        Specs are never changed, so they are shared: they are most of what there is to copy and to compare.
        """
        status = workflow.get("status") or {}
        own = {key: value for key, value in status.items() if key != "storedWorkflowTemplateSpec"}
        # A round trip through JSON is several times faster than copy.deepcopy.
        metadata, own = json.loads(json.dumps([workflow["metadata"], own]))
        if "storedWorkflowTemplateSpec" in status:
            own["storedWorkflowTemplateSpec"] = status["storedWorkflowTemplateSpec"]
        return {**workflow, "metadata": metadata, "status": own}

    @property
    def name(self) -> str:
        """The workflow's name."""
        return str(self.workflow["metadata"]["name"])

    @property
    def status(self) -> Json:
        """The workflow's status."""
        status: Json = self.workflow.setdefault("status", {})
        return status

    @property
    def nodes(self) -> dict[str, Json]:
        """The workflow's nodes by id."""
        nodes: dict[str, Json] = self.status.setdefault("nodes", {})
        return nodes

    @property
    def shutdown(self) -> str:
        """Stop, Terminate or empty."""
        return str((self.workflow.get("spec") or {}).get("shutdown") or "")

    def may_execute(self, on_exit: bool) -> bool:
        """Return whether the shutdown that was asked for, if any, lets a node run."""
        return not self.shutdown or (self.shutdown == "Stop" and on_exit)

    def wake_at(self, when: datetime) -> None:
        """Ask for another pass at `when`, if none is due earlier."""
        self.wake = min(self.wake or when, when)

    def node(self, name: str) -> Json | None:
        """Return the node named `name`, or None before there is one."""
        return self.nodes.get(node_id(self.name, name))

    def add(self, name: str, kind: str, ref: Json, place: Place, phase: str, message: str = "") -> Json:
        """Make a node; `ref` is the step that asks for it (template or templateRef)."""
        boundary = self.nodes.get(place.boundary)
        shown = name.removeprefix(boundary["name"]) if boundary else name
        if boundary and shown.startswith("[") and "." in shown:
            shown = shown.split(".", 1)[1]
        node: Json = {
            "id": node_id(self.name, name),
            "name": name,
            "displayName": shown.removeprefix("."),
            "type": kind,
            "templateScope": place.context or f"local/{self.name}",
            "phase": phase,
            "startedAt": stamp(self.now),
            "finishedAt": None,
        }
        for key, source in (("templateName", "template"), ("templateRef", "templateRef")):
            if ref.get(source):
                node[key] = ref[source]
        if place.boundary:
            node["boundaryID"] = place.boundary
        if message:
            node["message"] = message
        if phase in ("Succeeded", "Failed", "Error", "Skipped", "Omitted"):
            node["finishedAt"] = node["startedAt"]
        self.nodes[node["id"]] = node
        return node

    def mark(self, node: Json, phase: str, message: str | None = None) -> Json:
        """Set a node's phase, and its message if one is given."""
        node["phase"] = phase
        if message is not None:
            node.pop("message", None)
            if message:
                node["message"] = message
        if fulfilled(node) and not node.get("finishedAt"):
            node["finishedAt"] = stamp(self.now)
        return node

    def child(self, parent: Json, child: Json) -> None:
        """Connect a node to the one before it."""
        children = parent.setdefault("children", [])
        if child["id"] not in children:
            children.append(child["id"])

    def children(self, node: Json) -> list[Json]:
        """Return the nodes that `node` leads to."""
        return [self.nodes[key] for key in node.get("children") or [] if key in self.nodes]

    def outbound(self, node: Json) -> list[Json]:
        """Return the last nodes of `node`: those that the next step group hangs from."""
        if node["type"] in ("Pod", "Skipped", "Suspend"):
            return [node]
        if node["type"] == "Retry":
            children = self.children(node)
            return self.outbound(children[-1]) if children else [node]
        ends = [self.nodes[key] for key in node.get("outboundNodes") or [] if key in self.nodes]
        return [end for one in ends for end in ([one] if one is node else self.outbound(one))] or [node]

    def in_exit_handler(self, node: Json) -> bool:
        """Return whether the node belongs to the exit handler."""
        exit_name = f"{self.name}.onExit"
        return bool(node["name"] == exit_name or node["name"].startswith((f"{exit_name}[", f"{exit_name}(")))

    def export(self, node: Json) -> None:
        """Publish the node's outputs that have a globalName in the workflow's own outputs."""
        for part in ("parameters", "artifacts"):
            for item in (node.get("outputs") or {}).get(part) or []:
                if not item.get("globalName") or (part == "parameters" and "value" not in item):
                    continue
                kept = ("value",) if part == "parameters" else ("s3", "archive", "optional")
                published = {key: item[key] for key in kept if key in item}
                published["name"] = item["globalName"]
                held = self.status.setdefault("outputs", {}).setdefault(part, [])
                held[:] = [other for other in held if other["name"] != published["name"]] + [published]
                value: Any = published["value"] if part == "parameters" else published
                self.globals[f"workflow.outputs.{part}.{published['name']}"] = value

    def resolve(self, ref: Json, context: str) -> tuple[Json, str]:
        """Return the template that a step names, and the context for the names inside it.

        Templates from elsewhere are stored in the status at their first use, so that a later change of them
        does not touch a run.

        Raises:
            SpecError: there is no such template, or it has a field that is not supported.
        """
        name = ref.get("template", "")
        if reference := ref.get("templateRef"):
            kind = "cluster" if reference.get("clusterScope") else "namespaced"
            context, name = f"{kind}/{reference['name']}", reference["template"]
        if not context:
            found = next((item for item in self.spec["templates"] if item["name"] == name), None)
        else:
            stored = self.status.setdefault("storedTemplates", {})
            key = f"{context}/{name}"
            if key not in stored:
                kind, owner = context.split("/", 1)
                other = find_template({"name": owner, "clusterScope": kind == "cluster"}, self.lookup)
                if faults := check_spec(other, f"WorkflowTemplate {owner}: spec"):
                    raise SpecError("; ".join(faults))
                for item in other.get("templates") or []:
                    if item["name"] == name:
                        stored[key] = without_nulls(item)
            found = stored.get(key)
        if found is None:
            raise SpecError(f"template {name!r} not found in {context or 'the workflow'}")
        if defaults := self.spec.get("templateDefaults"):
            found = merged({key: value for key, value in defaults.items() if key != "name"}, found)
        return found, context

    def check_pods(self) -> None:
        """Look whether the workflow may have one more pod.

        Raises:
            ParallelismReached: not now.
        """
        limit = self.spec.get("parallelism")
        if limit is None:
            return
        active = sum(node["type"] == "Pod" for node in self._active())
        if active >= any_int(limit, "spec.parallelism"):
            raise ParallelismReached

    def check_siblings(self, place: Place) -> None:
        """Look whether one more node may begin in the boundary.

        Raises:
            ParallelismReached: not now.
        """
        if place.limit is None:
            return
        # An attempt of a retried node counts with its Retry node, and a step group with its steps.
        siblings = [node for node in self._active() if node.get("boundaryID") == place.boundary]
        counted = [node for node in siblings if node["type"] != "StepGroup" and not node.get("nodeFlag")]
        if len(counted) >= place.limit:
            raise ParallelismReached

    def _active(self) -> list[Json]:
        """Return the nodes that are underway, without those that wait for a lock."""
        return [
            node
            for node in self.nodes.values()
            if not fulfilled(node) and "waiting" not in (node.get("synchronizationStatus") or {})
        ]

    def failures(self) -> list[Json]:
        """Return the failed nodes as ``workflow.failures`` lists them."""
        keys = ("displayName", "message", "templateName", "phase", "finishedAt")
        return [
            {key: node.get(key) or "" for key in keys}
            | {"podName": pod_name(self.name, node["name"], node.get("templateName", ""))}
            for node in self.nodes.values()
            if failed(node)
        ]
