"""Debian packages unpacked into a private folder, without root and without touching the system's own.

apt does the resolving, the downloading and the checking of signatures, with a state, a cache, a list of
sources and an (empty) list of installed packages of its own; ``dpkg-deb`` unpacks. Nothing is configured or
run: the result is a folder of files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tiphys.local.debian_sources import KEYRINGS, Source, archive_sources, read_sources
from tiphys.local.progress import Report

SUITE = "sid"
PROGRAMS = ("apt-get", "apt-config", "dpkg-deb", "dpkg")
SPACE_NEEDED = 1_200_000_000
"""Bytes that the downloaded and the unpacked packages take together, with room to spare."""

# Hooks of the machine's own apt configuration act upon the system's cache: they have no business here.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
Dir::State "{work}/state";
Dir::State::status "{work}/status";
Dir::Cache "{work}/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{work}/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{work}/none";
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
APT::Update::Error-Mode "any";
APT::Default-Release "";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
"""
# Check-Valid-Until: a mirror of sid may lag behind its own date. Signatures are still checked.


class DownloadFailed(Exception):
    """The packages could not be had; the message says why."""


def possible() -> str:
    """Return why packages cannot be taken from Debian on this machine, or nothing if they can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"this machine has no {', '.join(missing)}"
    if not archive_sources(read_sources()):
        return "no apt source of this machine names a Debian archive with component main"
    if not any(keyring.exists() for keyring in KEYRINGS):
        return "the keys of Debian's archive (package debian-archive-keyring) are not installed"
    return ""


def download(packages: list[str], target: Path, progress: Report) -> dict[str, str]:
    """Download and unpack `packages` with all they depend on into the folder `target`.

    Args:
        packages: names of Debian packages.
        target: a folder that does not exist yet, on the file system where it is to stay.
        progress: told what is being done.

    Returns:
        The version of every package that was taken, by name.

    Raises:
        DownloadFailed: no mirror of this machine gave them.
    """
    if reason := possible():
        raise DownloadFailed(reason)
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < SPACE_NEEDED:
        raise DownloadFailed(
            f"{target.parent} has {free // 10**6} MB free, {SPACE_NEEDED // 10**6} MB are needed; free some, "
            "or set TIPHYS_CACHE to a folder on another file system"
        )
    keyring = next(str(keyring) for keyring in KEYRINGS if keyring.exists())
    failures = []
    for source in archive_sources(read_sources()):
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="apt-") as folder:
            try:
                archives = _fetch(packages, source, keyring, Path(folder), progress)
            except DownloadFailed as failure:
                failures.append(f"{source.uri}: {failure}")
                continue
            return _unpack(archives, target, progress)
    raise DownloadFailed("; ".join(failures))


def _fetch(packages: list[str], source: Source, keyring: str, work: Path, progress: Report) -> list[Path]:
    """Let apt download `packages` and what they need from `source`; return the archives."""
    for folder in ("state/lists/partial", "cache/archives/partial", "sources", "none"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources" / "debian.sources").write_text(source.for_suite(SUITE, keyring))
    (work / "apt.conf").write_text(CONFIGURATION.format(work=work))
    progress("reading the list of packages", None)
    _apt(["update"], work, progress, "reading the list of packages")
    _apt(["install", "--download-only", *packages], work, progress, "downloading packages")
    if not (archives := sorted((work / "cache" / "archives").glob("*.deb"))):
        raise DownloadFailed("apt-get left no packages behind")
    return archives


def _apt(arguments: list[str], work: Path, progress: Report, doing: str) -> None:
    """Run apt-get with the private configuration in `work`, passing on how far it says it is."""
    reading, writing = os.pipe()
    environment = {**os.environ, "APT_CONFIG": str(work / "apt.conf"), "LC_ALL": "C"}
    with (work / "apt.log").open("w+") as output:
        process = subprocess.Popen(
            ["apt-get", "-q", "-o", f"APT::Status-Fd={writing}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            env=environment,
        )
        os.close(writing)
        with os.fdopen(reading, errors="replace") as status:
            for line in status:
                parts = line.split(":", 3)
                if parts[0] == "dlstatus" and len(parts) == 4:
                    progress(doing, min(float(parts[2]) / 100, 1.0))
        code = process.wait()
        output.seek(0)
        said = output.read().strip().splitlines()
    if code:
        errors = [line for line in said if line.startswith("E:")] or said[-3:]
        raise DownloadFailed(f"apt-get {arguments[0]} failed: {' '.join(errors)}")


def _unpack(archives: list[Path], target: Path, progress: Report) -> dict[str, str]:
    """Unpack every archive into `target` and return the packages' versions."""
    target.mkdir(parents=True)
    versions: dict[str, str] = {}

    def unpack(archive: Path) -> tuple[str, str]:
        fields = subprocess.run(
            ["dpkg-deb", "--show", "--showformat=${Package}\t${Version}", str(archive)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        name, version = fields.split("\t")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)
        return name, version

    # base-files lays down the merged-/usr links (lib -> usr/lib), which the others expect to find.
    first = [archive for archive in archives if archive.name.startswith(("base-files_", "libc6_"))]
    rest = [archive for archive in archives if archive not in first]
    progress("unpacking", 0.0)
    versions.update(map(unpack, first))
    with ThreadPoolExecutor(max_workers=2) as pool:
        for done, (name, version) in enumerate(pool.map(unpack, rest), start=1):
            versions[name] = version
            progress("unpacking", done / len(rest))
    for useless in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(target / useless, ignore_errors=True)
    return versions
