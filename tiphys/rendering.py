"""Rendering: what the modules of workflows/, eventsources/ and sensors/ build, as files that never differ by chance."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tiphys import rights
from tiphys.documentation import PAGE, runbooks_page
from tiphys.install import kustomize
from tiphys.monitoring import alerts, dashboard, page

PACKAGES = ("workflows", "eventsources", "sensors")
MARK = "# Rendered by `tiphys render` from "
KUSTOMIZATION = "kustomization.yaml"
NAMESPACE = "tiphys"

_FIRST_KEYS = ("apiVersion", "kind", "metadata", "name", "spec")
_NOT_TEXT = re.compile(r"[-+.\d].*|~|=|<<|null|true|false|yes|no|on|off|y|n", re.IGNORECASE)
"""What some YAML reader takes for a number, a date, a boolean or nothing: Go's reads `y` as true, Python's does not."""


class _Dumper(yaml.SafeDumper):
    """Block style, texts in quotes where a reader could take them for something else, Lua as it is."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists within mappings, as Kubernetes' own examples do."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that stands in two places twice."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else '"' if _NOT_TEXT.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def ordered(value: Any) -> Any:
    """Return a value with every mapping's keys sorted, those that say what it is first."""
    if isinstance(value, dict):
        rank = {key: index for index, key in enumerate(_FIRST_KEYS)}
        keys = sorted(value, key=lambda key: (rank.get(key, len(rank)), key))
        return {key: ordered(value[key]) for key in keys}
    if isinstance(value, list):
        return [ordered(item) for item in value]
    return value


def as_yaml(value: Any) -> str:
    """Return a value as YAML, the same text for the same value."""
    return yaml.dump(ordered(value), Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


def built() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield package, module and manifest of every module that has a function `build()`.

    Raises:
        ValueError: if a module cannot be imported, or its object is not named as its file.
    """
    for package in PACKAGES:
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
            try:
                build = getattr(importlib.import_module(f"{package}.{found.name}"), "build", None)
                if build is None:
                    continue
                made = build()
            except ImportError as error:
                raise ValueError(f"{package}/{found.name}.py cannot be imported: {error}") from error
            manifest: dict[str, Any] = made if isinstance(made, dict) else made.to_dict()
            name = manifest["metadata"]["name"]
            if name.replace("-", "_") != found.name:
                raise ValueError(f"{package}/{found.name}.py builds an object named {name!r}; name both alike")
            yield package, found.name, manifest


@dataclass
class Rendering:
    """The files of a base folder, and those of the overlays beside it that modules with an `OVERLAY` are for.

    Attributes:
        base: the folder.
        files: text by path within it.
        objects: every object, hand-written ones too, by its file's path.
    """

    base: Path
    files: dict[str, str]
    objects: dict[str, dict[str, Any]]

    @classmethod
    def of_project(cls, base: Path) -> Rendering:
        """Render the project's modules for a base folder; hand-written files there are listed, not changed."""
        files, objects = {}, {}
        built_once = list(built())
        for package, module, manifest in built_once:
            code = importlib.import_module(f"{package}.{module}")
            for name, patch in getattr(code, "patches", dict)().items():
                text = f"{MARK}{package}/{module}.py; change that file, not this one.\n{as_yaml(patch)}"
                files[f"../overlays/{name}"] = text
            overlay = getattr(code, "OVERLAY", None)
            path = f"{package}/{manifest['metadata']['name']}.yaml"
            if overlay:
                path = f"../overlays/{overlay}/component/{package}.yaml"
            files[path] = f"{MARK}{package}/{module}.py; change that file, not this one.\n{as_yaml(manifest)}"
            objects[path] = manifest
        for file in sorted(base.glob("*.yaml")):
            if file.name != KUSTOMIZATION:
                documents = list(filter(None, yaml.safe_load_all(file.read_text())))
                objects |= {f"{file.name}#{index}": document for index, document in enumerate(documents)}
        by_hand = sorted({path.partition("#")[0] for path in objects} - set(files))
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": NAMESPACE,
            "resources": by_hand + sorted(path for path in files if not path.startswith("../")),
        }
        files[PAGE] = runbooks_page(manifest for _, _, manifest in built_once)
        own = [made for path, made in objects.items() if not path.startswith("../")]
        files[rights.PAGE] = rights.rights_page(own, overlays_of(base))
        files[page.PAGE], files[dashboard.PAGE] = page.metrics_page(), dashboard.dashboard()
        rule = as_yaml(alerts.rule())
        files[alerts.PAGE] = f"{MARK}tiphys/monitoring/alerts.py; change that file, not this one.\n{rule}"
        files[KUSTOMIZATION] = f"{MARK}what it lists; `kubectl apply -k` reads it.\n{as_yaml(kustomization)}"
        return cls(base, files, objects)

    def stale(self) -> list[str]:
        """Return the rendered files on disk that nothing renders any more."""
        found = [path for package in PACKAGES for path in sorted((self.base / package).glob("*.yaml"))]
        return [name for path in found if (name := str(path.relative_to(self.base))) not in self.files]

    def differences(self) -> list[str]:
        """Return one line for each file that is not as rendered."""
        lines = [f"{self.base / name}: nothing renders this file any more" for name in self.stale()]
        for name, text in sorted(self.files.items()):
            path = self.base / name
            if not path.exists():
                lines.append(f"{path}: is missing")
            elif path.read_text() != text:
                lines.append(f"{path}: differs from what is rendered")
        return lines

    def write(self) -> list[str]:
        """Write what differs, remove what is stale; return the names of both."""
        changed = []
        for name, text in sorted(self.files.items()):
            path = self.base / name
            if not path.exists() or path.read_text() != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                changed.append(name)
        for name in self.stale():
            (self.base / name).unlink()
            changed.append(f"{name} (removed)")
        return changed


def overlays_of(base: Path) -> dict[str, int]:
    """Return how many objects there are with each overlay beside a base folder."""
    found = sorted(base.parent.glob(f"overlays/*/{KUSTOMIZATION}"))
    return {path.parent.name: len(kustomize.build(path.parent)) for path in found}


def not_honoured(objects: dict[str, dict[str, Any]]) -> list[str]:
    """Return the fields that the local engine and gateway do not honour: file and path, one line each."""
    from tiphys.local.engine.supported import check as engine_check
    from tiphys.local.events.check import check as gateway_check

    return [
        f"{name}: {fault}"
        for name, manifest in objects.items()
        for fault in [*engine_check(manifest), *gateway_check(manifest)]
    ]
