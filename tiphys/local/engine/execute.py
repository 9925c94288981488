"""Running templates: what one node needs next (Argo's executeTemplate, steps, suspend, container)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import yaml

from tiphys.local.engine.locks import lock_keys
from tiphys.local.engine.model import (
    Json,
    SpecError,
    any_int,
    fulfilled,
    node_id,
    parse_duration,
    parse_time,
    pod_name,
    text_of,
)
from tiphys.local.engine.podspec import build_pod
from tiphys.local.engine.retry import backoff_deadline, judge
from tiphys.local.engine.run import NodeError, ParallelismReached, Place, Run
from tiphys.local.engine.scope import Variables, bind, retry_variables, template_variables
from tiphys.local.engine.substitute import UnresolvedError, substitute
from tiphys.local.engine.tokens import ExpressionError

KEY_FORMAT = "runs/{{workflow.name}}/{{pod.name}}"
"""Where output artifacts go that name no key, if the artifact repository says nothing else."""
FIRST_TRY: Variables = {
    "lastRetry.exitCode": "0",
    "lastRetry.status": "",
    "lastRetry.duration": "0",
    "lastRetry.message": "",
}
"""What ``lastRetry.*`` says in the first attempt, as in Argo."""


def execute(run: Run, name: str, ref: Json, place: Place, arguments: Json) -> Json:
    """Bring the node `name` one step on, making it first if need be, and return it.

    Args:
        run: the pass.
        name: full name of the node.
        ref: what names the template: `template` or `templateRef`.
        place: where the node stands.
        arguments: the arguments, substituted.

    Raises:
        NodeError: the node ended in error at once.
        ParallelismReached: it cannot begin yet.
    """
    node = run.node(name)
    if node is not None and fulfilled(node):
        return node
    try:
        template, context = run.resolve(ref, place.context)
        inputs = bind(template, arguments, run.globals)
        variables = {**run.globals, **template_variables(template, inputs), "node.name": name}
        if "step" in ref:
            variables["steps.name"] = ref["step"]
        if node is None:
            run.check_siblings(place)
        if template.get("synchronization"):
            waiting = _take_locks(run, name, ref, place, template, inputs, variables)
            if waiting is not None:
                return waiting
        work = _Work(run, ref, place, template, context, inputs, variables)
        return work.retried(name) if template.get("retryStrategy") else work.once(name, {})
    except (SpecError, UnresolvedError, ExpressionError) as error:
        node = run.node(name) or run.add(name, "Skipped", ref, place, "Error")
        run.mark(node, "Error", str(error))
        raise NodeError(str(error)) from error


def _take_locks(
    run: Run, name: str, ref: Json, place: Place, template: Json, inputs: Json, variables: Variables
) -> Json | None:
    """Take the template's locks; return the node if it has to wait."""
    namespace = run.workflow["metadata"]["namespace"]
    keys = lock_keys(substitute(template["synchronization"], variables), namespace)
    holder = f"{namespace}/{run.name}/{node_id(run.name, name)}"
    wanted = run.locks.acquire(holder, keys, created=run.workflow["metadata"]["creationTimestamp"])
    kind = "Retry" if template.get("retryStrategy") else _kind(template)
    node = run.node(name) or run.add(name, kind, ref, place, "Pending")
    node.setdefault("inputs", inputs)
    if wanted:
        node["synchronizationStatus"] = {"waiting": wanted}
        return run.mark(node, "Pending", run.locks.describe(wanted))
    node["synchronizationStatus"] = {}
    if node["type"] != "Pod":
        run.mark(node, "Running", "")
    return None


def _kind(template: Json) -> str:
    return {"container": "Pod", "steps": "Steps", "suspend": "Suspend"}[
        next(kind for kind in ("container", "steps", "suspend") if kind in template)
    ]


class _Work:
    """One template with its inputs, about to be run once or, with a retryStrategy, several times."""

    def __init__(
        self, run: Run, ref: Json, place: Place, template: Json, context: str, inputs: Json, variables: Variables
    ) -> None:
        self.run, self.ref, self.place, self.template = run, ref, place, template
        self.context, self.inputs, self.variables = context, inputs, variables

    def begin(self, name: str, kind: str, phase: str) -> Json:
        """Return the node, made with its inputs if it is new."""
        node = self.run.node(name)
        if node is None:
            node = self.run.add(name, kind, self.ref, self.place, phase)
            if self.inputs:
                node["inputs"] = self.inputs
        return node

    def retried(self, name: str) -> Json:
        """Run the template until an attempt succeeds or the strategy says no."""
        run = self.run
        given = self.template["retryStrategy"]
        strategy = substitute({key: given[key] for key in given if key != "expression"}, self.variables)
        strategy["expression"] = given.get("expression", "")
        node = self.begin(name, "Retry", "Running")
        until: datetime | None = None
        while True:
            attempts = run.children(node)
            if attempts and fulfilled(attempts[-1]):
                judge(run, node, attempts, strategy, self.variables)
                if fulfilled(node):
                    return node
                wait, until = backoff_deadline(run, node, attempts, strategy)
                if fulfilled(node):
                    return node
                if wait is not None and wait > run.now:
                    run.wake_at(wait)
                    return node
                run.mark(node, "Running", "")
            number = len(attempts) if not attempts or fulfilled(attempts[-1]) else len(attempts) - 1
            done = [attempt for attempt in attempts if fulfilled(attempt)]
            told = retry_variables(done) if done else FIRST_TRY
            if done and told["lastRetry.exitCode"] == "-1":
                told = {**told, "lastRetry.exitCode": "0"}
            try:
                child = self.once(f"{name}({number})", {**told, "retries": str(number)}, until)
            except ParallelismReached:
                return node
            child["nodeFlag"] = {"retried": True}
            run.child(node, child)
            if not fulfilled(child):
                return node

    def once(self, name: str, extra: Mapping[str, Any], until: datetime | None = None) -> Json:
        """Run the template as the node `name`."""
        if "steps" in self.template:
            from tiphys.local.engine.steps import execute_steps

            node = self.begin(name, "Steps", "Running")
            limit = self.template.get("parallelism")
            inner = Place(
                self.context,
                node["id"],
                self.place.on_exit,
                None if limit is None else any_int(limit, f"templates.{self.template['name']}.parallelism"),
            )
            return execute_steps(self.run, node, self.template, inner, {**self.variables, **extra})
        if "suspend" in self.template:
            return self.suspended(name, {**self.variables, **extra})
        return self.contained(name, extra, until)

    def suspended(self, name: str, variables: Variables) -> Json:
        """Wait for somebody to resume the node, or for its duration to pass."""
        run, node = self.run, self.run.node(name)
        if node is None:
            node = self.begin(name, "Suspend", "Running")
            supplied = [
                _with_default(item, self.inputs)
                for item in (self.template.get("outputs") or {}).get("parameters") or []
            ]
            if supplied:
                node["outputs"] = {"parameters": supplied}
        duration = (self.template["suspend"] or {}).get("duration")
        if not run.may_execute(self.place.on_exit):
            return run.mark(node, "Failed", f"Stopped with strategy '{run.shutdown}'")
        if duration:
            end = parse_time(node["startedAt"]) + parse_duration(substitute(text_of(duration), variables))
            if run.now >= end:
                fill_supplied(node)
                run.mark(node, "Succeeded")
                run.export(node)
            else:
                run.wake_at(end)
        return node

    def contained(self, name: str, extra: Mapping[str, Any], until: datetime | None) -> Json:
        """Have a pod created for the node, unless there is one."""
        run, node = self.run, self.run.node(name)
        if node is not None and (node["phase"] != "Pending" or node["id"] in run.pods):
            return node
        if node is None:
            run.check_pods()
        if not run.may_execute(self.place.on_exit):
            node = self.begin(name, "Pod", "Pending")
            return run.mark(node, "Failed", f"workflow shutdown with strategy:  {run.shutdown}")
        left, late = self.time_left(node, until)
        if late:
            return run.mark(self.begin(name, "Pod", "Pending"), "Failed", late)
        pod = pod_name(run.name, name, self.template["name"])
        variables = {**self.variables, **extra, "pod.name": pod, "node.name": name}
        # Metrics speak of what the step puts out, and so are filled in when it has ended, where there is a Prometheus.
        left_out = ("inputs", "metrics", "retryStrategy")
        plain = {key: self.template[key] for key in self.template if key not in left_out}
        filled = substitute(plain, variables)
        node = self.begin(name, "Pod", "Pending")
        prefix = substitute(_key_format(run), variables)
        run.create.append(
            build_pod(
                run.workflow,
                run.spec,
                node,
                filled,
                on_exit=self.place.on_exit,
                deadline=left,
                outputs_prefix=prefix,
            )
        )
        return node

    def time_left(self, node: Json | None, until: datetime | None) -> tuple[int | None, str]:
        """Return the seconds a pod may run (None: no limit), and why it must not begin at all, if so."""
        run, ends = self.run, []
        if until is not None:
            ends.append((until, "Max duration limit exceeded"))
        if (end := workflow_deadline(run)) is not None and not self.place.on_exit:
            ends.append((end, "Step exceeded its deadline"))
        if timeout := self.template.get("timeout"):
            begun = parse_time(node["startedAt"]) if node else run.now
            ends.append((begun + parse_duration(substitute(text_of(timeout), self.variables)), "Timeout"))
        if not ends:
            return None, ""
        end, why = min(ends)
        left = (end - run.now).total_seconds()
        return max(1, math.ceil(left)), why if left <= 0 else ""


def _with_default(item: Json, inputs: Json) -> Json:
    """Return an output that is to be supplied, with the default of the input of the same name."""
    source = dict(item.get("valueFrom") or {})
    for given in inputs.get("parameters") or []:
        if "default" not in source and given["name"] == item["name"] and "default" in given:
            source["default"] = given["default"]
    return {**item, "valueFrom": source}


def fill_supplied(node: Json) -> None:
    """Give the outputs of a resumed node that nobody supplied their defaults.

    Raises:
        SpecError: there is none.
    """
    for item in (node.get("outputs") or {}).get("parameters") or []:
        if "value" in item:
            continue
        default = (item.get("valueFrom") or {}).get("default")
        if default is None:
            raise SpecError(f"raw output parameter '{item['name']}' has not been set and does not have a default value")
        item["value"] = text_of(default)
        item.pop("valueFrom", None)


def workflow_deadline(run: Run) -> datetime | None:
    """Return when the workflow's activeDeadlineSeconds are over, None without them."""
    seconds, started = run.spec.get("activeDeadlineSeconds"), run.status.get("startedAt")
    if seconds is None or not started:
        return None
    return parse_time(started) + timedelta(seconds=any_int(seconds, "spec.activeDeadlineSeconds"))


def _key_format(run: Run) -> str:
    """Return the key format of the artifact repository that the workflow uses."""
    reference = run.spec.get("artifactRepositoryRef") or {}
    found = run.lookup("ConfigMap", reference.get("configMap") or "artifact-repositories")
    if found is None:
        return KEY_FORMAT
    default = (found["metadata"].get("annotations") or {}).get("workflows.argoproj.io/default-artifact-repository")
    text = (found.get("data") or {}).get(reference.get("key") or default or "default")
    repository = yaml.safe_load(text) if text else {}
    return str(((repository or {}).get("s3") or {}).get("keyFormat") or KEY_FORMAT)
