"""Write what the image of the steps is made of, as CycloneDX: Python packages of this environment, Debian's below it.

Run it with the image's own Python; it prints the same for the same image.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")


def python_packages() -> Iterator[dict[str, Any]]:
    """Yield the packages that this environment can import."""
    for one in distributions():
        name = str(one.metadata["Name"]).lower().replace("_", "-")
        licence = one.metadata["License-Expression"]
        made = {"type": "library", "name": name, "version": one.version, "purl": f"pkg:pypi/{name}@{one.version}"}
        yield {**made, "licenses": [{"expression": licence}]} if licence else made


def debian_packages(status: str) -> Iterator[dict[str, Any]]:
    """Yield the installed packages of dpkg's status file."""
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, at, where = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{quote(name)}@{quote(at)}?arch={where}"
        yield {"type": "library", "name": name, "version": at, "purl": purl}


def sbom() -> dict[str, Any]:
    """Return the whole of it."""
    found = [*python_packages(), *(debian_packages(DPKG.read_text()) if DPKG.exists() else ())]
    base = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "ghcr.io/tiphys/step", "version": version("tiphys")}},
        "components": [
            {"type": "platform", "name": "python", "version": base, "purl": f"pkg:generic/python@{base}"},
            *sorted(found, key=lambda one: str(one["purl"])),
        ],
    }


if __name__ == "__main__":
    json.dump(sbom(), sys.stdout, indent=1)
