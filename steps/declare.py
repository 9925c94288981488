"""How a step is declared: one typed function that is also a click command, with typed outputs.

Example::

    @dataclass(frozen=True)
    class Greeted:
        greeting: str = parameter("What was said.")

    @step("greet")
    @option("--name", required=True, type=OBJECT_NAME, help="Whom to greet.")
    def greet(name: str) -> Greeted:
        '''Greet somebody.'''
        return Greeted(f"Hello {name}")

The command writes each field of the returned dataclass into ``$STEP_OUTPUTS/<field>``, and turns errors into the exit
codes of :mod:`steps.errors`.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import sys
import time
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from steps.errors import StepError
from steps.log import log, set_step
from steps.parameters import CLUSTER_NAME, NAMESPACE_NAME, InputFile, Parameter, as_text, describe

OUTPUTS = "/tmp/outputs"
INPUTS = "/tmp/inputs"
SCRATCH_VOLUME = "tiphys-scratch"
"""Name of the emptyDir that is /tmp in a step's pod."""
INTERNAL = ("namespace", "workflow")
"""Options that the templates fill in from the workflow itself; they are never parameters of a template."""


def outputs_folder() -> Path:
    """Return the folder for output parameters and artifacts (``STEP_OUTPUTS``), made if it is missing."""
    folder = Path(os.environ.get("STEP_OUTPUTS", OUTPUTS))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def parameter(help: str, *, is_global: bool = False) -> Any:
    """Declare an output parameter; a global one is readable in ``status.outputs.parameters`` of the workflow."""
    return dataclasses.field(metadata={"help": help, "global": is_global})


def artifact(help: str, file: str) -> Any:
    """Declare an output artifact: a `Path` field whose file is named `file` in the outputs folder."""
    return dataclasses.field(metadata={"help": help, "file": file})


class StepOption(click.Option):
    """An option for which the empty text means "not given", since an Argo parameter cannot be absent."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Treat the empty text as None where None is the default."""
        if value == "" and not self.required:
            value = None if self.default is None else self.default
        return super().type_cast_value(ctx, value)


def option(name: str, **attributes: Any) -> Callable[[Any], Any]:
    """Declare one option of a step; as `click.option`, for values only (no flags, no counts)."""
    return click.option(name, cls=StepOption, show_default=True, **attributes)


def input_file(name: str, file: str, help: str) -> Callable[[Any], Any]:
    """Declare an input artifact: option `name`, file `file` of ``$STEP_INPUTS`` where the option is not given."""
    default = functools.partial(_input_path, file)
    made = click.option(name, cls=InputOption, type=InputFile(), default=default, show_default=file, help=help)
    return made


def _input_path(file: str) -> str:
    return str(Path(os.environ.get("STEP_INPUTS", INPUTS)) / file)


class InputOption(click.Option):
    """The option of an input artifact; `file` is its name in the inputs folder."""

    @property
    def file(self) -> str:
        """Name of the file in the inputs folder."""
        return str(self.show_default)


def target_options(function: Any) -> Any:
    """Declare the options that name a cluster: `--namespace` and `--cluster`, both without a default."""
    function = option(
        "--cluster",
        required=True,
        type=CLUSTER_NAME,
        help="Name of the InnoDBCluster. Never guessed: name it.",
    )(function)
    return option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace of the cluster.")(function)


class StepCommand(click.Command):
    """A click command that is a step of a workflow.

    Attributes:
        function: the typed function behind the command, for callers in Python.
        outputs: the dataclass that the function returns, or None.
    """

    function: Callable[..., Any]
    outputs: type | None

    @property
    def parameters(self) -> list[Parameter]:
        """The options that a caller of the workflow may set, in the order in which they are declared."""
        return [
            describe(param)
            for param in self.params
            if isinstance(param, StepOption) and describe(param).name not in INTERNAL
        ]

    @property
    def internal(self) -> list[str]:
        """Names of the options that the template fills in from the workflow."""
        names = [describe(param).name for param in self.params if isinstance(param, StepOption)]
        return [name for name in names if name in INTERNAL]

    @property
    def input_files(self) -> list[str]:
        """File names of the input artifacts."""
        return [param.file for param in self.params if isinstance(param, InputOption)]


def step(name: str) -> Callable[[Callable[..., Any]], StepCommand]:
    """Make a typed function a step: see the module's example."""

    def declare(function: Callable[..., Any]) -> StepCommand:
        @functools.wraps(function)
        def run(**values: Any) -> None:
            _run(name, function, values)

        command = click.command(name, cls=StepCommand, context_settings={"max_content_width": 100})(run)
        returned = typing.get_type_hints(function).get("return")
        command.function = function
        command.outputs = returned if dataclasses.is_dataclass(returned) else None  # type: ignore[assignment]
        return command

    return declare


def _run(name: str, function: Callable[..., Any], values: dict[str, Any]) -> None:
    set_step(name)
    started = time.monotonic()
    log("started", **{key: value for key, value in values.items() if "password" not in key})
    try:
        outputs = function(**values)
    except StepError as error:
        write_outputs(error.outputs)
        took = round(time.monotonic() - started, 3)
        told = {"error": type(error).__name__, "exit_code": error.exit_code, "message": str(error), "seconds": took}
        log("failed", **{**told, **printable_outputs(error.outputs), **told})
        if not sys.stderr.isatty():
            click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        log("crashed", error=type(error).__name__, message=str(error))
        traceback.print_exc()
        sys.exit(1)
    write_outputs(outputs)
    log("finished", **{"seconds": round(time.monotonic() - started, 3), **printable_outputs(outputs)})


def printable_outputs(outputs: Any) -> dict[str, str]:
    """Return the output parameters (not the artifacts) by name, as they are written."""
    if outputs is None:
        return {}
    fields = dataclasses.fields(outputs)
    pairs = ((f.name.replace("_", "-"), getattr(outputs, f.name)) for f in fields if "file" not in f.metadata)
    return {name: as_text(value) for name, value in pairs}


def write_outputs(outputs: Any) -> None:
    """Write every output into the outputs folder: one file a parameter; artifacts are copied to their place."""
    if outputs is None:
        return
    folder = outputs_folder()
    for name, value in printable_outputs(outputs).items():
        (folder / name).write_text(value)
    for field in dataclasses.fields(outputs):
        if "file" in field.metadata and (source := getattr(outputs, field.name)) is not None:
            target = folder / field.metadata["file"]
            if Path(source).resolve() != target.resolve():
                shutil.copyfile(source, target)
