"""Which S3 server there is, and the command that runs it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tiphys.local.s3.build import VERSION, built_program
from tiphys.local.s3.credentials import REGION, Credentials
from tiphys.local.settings import PLATFORM_VARIABLE, Settings


@dataclass(frozen=True)
class Program:
    """An S3 server that can be started.

    Attributes:
        kind: ``versitygw`` or ``moto``.
        version: its version.
        origin: ``path``, ``cache``, ``built`` or ``python``.
        path: the program; the Python interpreter for moto.
    """

    kind: str
    version: str
    origin: str
    path: Path


def versitygw_there() -> Program | None:
    """Return the versitygw on PATH, else the one built before, else None."""
    if path := shutil.which("versitygw"):
        return Program("versitygw", _version(path), "path", Path(path))
    if built_program().exists():
        return Program("versitygw", VERSION, "cache", built_program())
    return None


def _version(path: str) -> str:
    """Return the version that the versitygw at `path` prints."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"Version\s*:\s*(\S+)", said)
    return found[1] if found else "unknown"


def moto_there() -> Program | None:
    """Return moto's server if this Python has it."""
    if not all(importlib.util.find_spec(module) for module in ("moto", "flask", "flask_cors")):
        return None
    try:
        return Program("moto", version("moto"), "python", Path(sys.executable))
    except PackageNotFoundError:
        return None


def command(program: Program, settings: Settings) -> list[str]:
    """Return the words that start `program` for the platform; keys are never among them."""
    address = f"{settings.s3_host}:{settings.s3_port}"
    if program.kind == "moto":
        host, _, port = address.partition(":")
        return [str(program.path), "-m", "moto.server", "-H", host, "-p", port]
    folder = settings.home / "s3"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = [str(program.path), "--port", address, "--region", REGION, "--quiet", "--keep-alive", "posix"]
    if not keeps_attributes(folder):
        sidecar = settings.home / "s3.metadata"
        sidecar.mkdir(exist_ok=True, mode=0o700)
        words += ["--sidecar", str(sidecar)]
    return [*words, str(folder)]


def environment(program: Program, credentials: Credentials, home: Path) -> Mapping[str, str]:
    """Return the server's whole environment: nothing of the caller's may change how it behaves."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    kept[PLATFORM_VARIABLE] = str(home)
    if program.kind == "versitygw":
        kept |= {"ROOT_ACCESS_KEY": credentials.access_key, "ROOT_SECRET_KEY": credentials.secret_key}
    return kept


def keeps_attributes(folder: Path) -> bool:
    """Tell whether the file system of `folder` keeps extended attributes, where versitygw puts metadata."""
    with tempfile.NamedTemporaryFile(dir=folder.parent) as file:
        try:
            os.setxattr(file.name, "user.tiphys", b"1")
        except OSError:
            return False
    return True
