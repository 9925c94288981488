"""Steps templates: groups one after the other, the steps of a group side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.local.engine.execute import execute
from tiphys.local.engine.expression import evaluate
from tiphys.local.engine.functions import to_text
from tiphys.local.engine.model import Json, SpecError, failed, fulfilled, text_of
from tiphys.local.engine.run import NodeError, ParallelismReached, Place, Run
from tiphys.local.engine.scope import Variables, reference, resolve_arguments, step_variables
from tiphys.local.engine.substitute import UnresolvedError, substitute
from tiphys.local.engine.tokens import ExpressionError
from tiphys.local.engine.when import should_execute


def execute_steps(run: Run, node: Json, template: Json, inner: Place, variables: Variables) -> Json:
    """Bring the Steps node one step on and return it.

    Args:
        run: the pass.
        node: the Steps node.
        template: its template.
        inner: where its steps stand.
        variables: what is known inside the template.
    """
    name, done, before = node["name"], dict(variables), node
    for at, steps in enumerate(template["steps"]):
        group = run.node(f"{name}[{at}]") or run.add(f"{name}[{at}]", "StepGroup", {}, inner, "Running")
        ends = run.children(before) if before["type"] == "StepGroup" else []
        for one in [end for child in ends for end in run.outbound(child)] or [before]:
            run.child(one, group)
        if not fulfilled(group):
            # What other branches exported meanwhile is known as well.
            _execute_group(run, group, steps, inner, {**done, **run.globals})
        if not fulfilled(group):
            return node
        node["outboundNodes"] = [end["id"] for child in run.children(group) for end in run.outbound(child)]
        if failed(group):
            return run.mark(node, "Failed", group.get("message", ""))
        for step in steps:
            done |= _known_of(run, f"{name}[{at}].{step['name']}", step, inner)
        before = group
    try:
        outputs = _outputs(template, {**done, **run.globals})
    except (SpecError, UnresolvedError, ExpressionError) as error:
        return run.mark(node, "Error", str(error))
    if outputs:
        node["outputs"] = outputs
        run.export(node)
    return run.mark(node, "Succeeded")


def _known_of(run: Run, child_name: str, step: Json, inner: Place) -> Variables:
    """Return what the finished step lets later ones know."""
    child = run.node(child_name)
    if child is None:
        return {}
    template = None
    if child["phase"] in ("Skipped", "Omitted"):
        try:
            template, _ = run.resolve(step, inner.context)
        except SpecError:
            template = None  # a skipped step may name a template that does not exist
    attempts = run.children(child) if child["type"] == "Retry" else []
    shown = {**attempts[-1], "id": child["id"]} if attempts else child
    return step_variables(step["name"], shown, template)


def _execute_group(run: Run, group: Json, steps: list[Json], inner: Place, known: Variables) -> None:
    """Bring every step of a group on, and the group to its end when they are all done."""
    waiting = False
    for step in steps:
        name = f"{group['name']}.{step['name']}"
        child = run.node(name)
        if child is not None and fulfilled(child):
            run.child(group, child)
            continue
        try:
            when = substitute(text_of(step.get("when", "")), known)
            if child is None and not should_execute(when):
                skipped = run.add(name, "Skipped", step, inner, "Skipped", f"when '{when}' evaluated false")
                run.child(group, skipped)
                continue
            ref: Json = {key: substitute(step[key], known) for key in ("template", "templateRef") if key in step}
            arguments = resolve_arguments(step.get("arguments"), known)
        except (UnresolvedError, ExpressionError) as error:
            if child is None:
                run.child(group, run.add(name, "Skipped", step, inner, "Error", str(error)))
            run.mark(group, "Error", str(error))
            return
        try:
            run.child(group, execute(run, name, {**ref, "step": step["name"]}, inner, arguments))
        except ParallelismReached:
            waiting = True
        except NodeError as error:
            if (broken := run.node(name)) is not None:
                run.child(group, broken)
            run.mark(group, "Error", f"step group deemed errored due to child {name} error: {error}")
            return
    children = run.children(group)
    if waiting or not all(fulfilled(child) for child in children):
        return
    forgiving = {f"{group['name']}.{step['name']}": step.get("continueOn") or {} for step in steps}
    for child in children:
        forgiven = forgiving.get(child["name"], {}).get("failed" if child["phase"] == "Failed" else "error")
        if failed(child) and not forgiven:
            run.mark(group, "Failed", f"child '{child['id']}' failed")
            return
    run.mark(group, "Succeeded")


def _outputs(template: Json, known: Mapping[str, Any]) -> Json:
    """Return the outputs of a finished Steps template.

    Raises:
        SpecError, UnresolvedError, ExpressionError: one has no value.
    """
    declared = template.get("outputs") or {}
    outputs: Json = {}
    for item in declared.get("parameters") or []:
        kept = {key: item[key] for key in ("name", "globalName", "description") if key in item}
        outputs.setdefault("parameters", []).append({**kept, "value": _output_value(item, known)})
    for item in declared.get("artifacts") or []:
        source = item.get("from", "")
        found = known.get(reference(source) or source)
        if isinstance(found, dict) and found:
            kept = {key: item[key] for key in ("name", "globalName") if key in item}
            place = {key: found[key] for key in ("s3", "archive") if key in found}
            outputs.setdefault("artifacts", []).append({**place, **kept})
        elif not item.get("optional"):
            raise SpecError(f"unable to resolve outputs from scope: Unable to resolve: {source}")
    return outputs


def _output_value(item: Json, known: Mapping[str, Any]) -> str:
    source = item["valueFrom"]
    value: Any = None
    problem = f"outputs.parameters.{item['name']}: valueFrom names neither a parameter nor an expression"
    if "expression" in source:
        try:
            value = evaluate(source["expression"], known)
            problem = f"failed to evaluate expression {source['expression']!r}: it has no value"
        except ExpressionError as error:
            problem = f"failed to evaluate expression {source['expression']!r}: {error}"
    elif "parameter" in source:
        name = reference(source["parameter"]) or source["parameter"].strip()
        value = known.get(name)
        why = "the step was skipped and has no default" if name in known else "Unable to resolve"
        problem = f"output parameter {item['name']!r}: {why}: {source['parameter']}"
    if value is None:
        value = source.get("default")
    if value is None:
        raise SpecError(problem)
    return to_text(value)
