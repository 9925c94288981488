"""MySQL for the local platform: the programs on PATH if they are new enough, else Debian's packages.

Debian's packages are taken from the suite that carries MySQL's current long-term release, unpacked into the
user's cache, and run through the dynamic loader that came with them: so they run on an older system as well,
and need neither root nor Docker. ``python -m tiphys.local.mysql_packages`` fetches what is missing and prints
what is used.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tiphys.local import debian_packages
from tiphys.local.files import locked
from tiphys.local.progress import Report, shown, silent
from tiphys.local.settings import cache_folder

OLDEST = (8, 4)
"""The oldest MySQL that the runbooks support."""

PACKAGES = ["mysql-server-core", "mysql-client-core", "mysql-router"]
PLUGINS = ("group_replication.so", "mysql_clone.so")

log = logging.getLogger(__name__)


class MySQLUnavailable(Exception):
    """There is no usable MySQL; the message says what was looked for, what was seen and what to do."""


@dataclass(frozen=True)
class MySQL:
    """One installation of MySQL's server, Router and client.

    Attributes:
        version: the server's version, such as ``9.7.4``.
        origin: ``path`` (programs found on PATH) or ``debian`` (packages in the cache).
        basedir: what mysqld's ``--basedir`` takes.
        plugin_dir: the server's plugins.
        share_dir: the server's messages and character sets (``--lc-messages-dir``).
        router_plugin_dir: Router's plugins (``plugin_folder``); None where Router knows by itself.
        environment: variables that a process of it needs beside its caller's.
        launcher: words in front of every program (the loader and its library path), if any.
        programs: folders to look for programs in.
    """

    version: str
    origin: str
    basedir: Path
    plugin_dir: Path
    share_dir: Path
    router_plugin_dir: Path | None
    environment: Mapping[str, str] = field(default_factory=dict)
    launcher: tuple[str, ...] = ()
    programs: tuple[Path, ...] = ()

    def command(self, program: str, *args: str) -> list[str]:
        """Return the words that run `program` (``mysqld``, ``mysqlrouter``, ``mysql``, ...) with `args`.

        Raises:
            MySQLUnavailable: this installation has no such program.
        """
        for folder in self.programs:
            if os.access(folder / program, os.X_OK):
                return [*self.launcher, str(folder / program), *args]
        looked = ", ".join(map(str, self.programs))
        raise MySQLUnavailable(f"MySQL {self.version} ({self.origin}) has no program {program} in {looked}")

    @property
    def server_options(self) -> list[str]:
        """Options that mysqld needs to find its own files; they go after ``--no-defaults``."""
        options = [
            f"--basedir={self.basedir}",
            f"--plugin-dir={self.plugin_dir}",
            f"--lc-messages-dir={self.share_dir}",
            "--secure-file-priv=",
        ]
        return [*options, "--user=root"] if os.geteuid() == 0 else options


def parse_version(text: str) -> tuple[int, ...]:
    """Return the version in what ``--version`` of a MySQL program printed.

    Raises:
        ValueError: the text names no version, or is MariaDB's.
    """
    if "mariadb" in text.lower():
        raise ValueError("it is MariaDB")
    found = re.search(r"\bVer\s+(\d+)\.(\d+)\.(\d+)", text)
    if not found:
        raise ValueError(f"its --version says no version: {text.strip()[:100]!r}")
    return tuple(map(int, found.groups()))


def _program_version(path: str) -> tuple[int, ...]:
    """Run `path` and return the version it prints."""
    try:
        ran = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"it does not run: {error}") from error
    if ran.returncode:
        raise ValueError(f"it does not run: {(ran.stderr or ran.stdout).strip()[:200]}")
    return parse_version(ran.stdout)


def on_path() -> MySQL:
    """Return the MySQL on PATH.

    Raises:
        MySQLUnavailable: the message says what is missing or too old.
    """
    paths = {program: shutil.which(program) for program in ("mysqld", "mysqlrouter")}
    missing = [program for program, path in paths.items() if not path]
    if missing:
        raise MySQLUnavailable(f"no {' and no '.join(missing)} on PATH")
    for path in paths.values():
        assert path
        try:
            version = _program_version(path)
        except ValueError as error:
            raise MySQLUnavailable(f"{path} is of no use: {error}") from error
        if version < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise MySQLUnavailable(f"{path} is {'.'.join(map(str, version))}, older than {oldest}")
    server = str(paths["mysqld"])
    variables = _server_variables(server)
    plugins = Path(variables.get("plugin-dir", "/usr/lib/mysql/plugin"))
    lacking = [plugin for plugin in PLUGINS if not (plugins / plugin).exists()]
    if lacking:
        raise MySQLUnavailable(f"{server} has no plugin {' and no '.join(lacking)} in {plugins}")
    folders = dict.fromkeys(Path(str(path)).parent for path in paths.values())
    rest = (Path(folder) for folder in os.get_exec_path() if folder)
    return MySQL(
        version=".".join(map(str, _program_version(server))),
        origin="path",
        basedir=Path(variables.get("basedir", "/usr")),
        plugin_dir=plugins,
        share_dir=Path(variables.get("lc-messages-dir", "/usr/share/mysql")),
        router_plugin_dir=None,
        programs=tuple(dict.fromkeys([*folders, *rest])),
    )


def _server_variables(server: str) -> dict[str, str]:
    """Return the settings that `server` was built with, as its own help prints them."""
    user = ["--user=root"] if os.geteuid() == 0 else []
    ran = subprocess.run(
        [server, "--no-defaults", *user, "--verbose", "--help"], capture_output=True, text=True, timeout=60
    )
    table = ran.stdout.partition("\n----")[2]
    rows = (line.split(maxsplit=1) for line in table.splitlines())
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def _folder() -> Path:
    return cache_folder() / "mysql"


def in_cache() -> MySQL:
    """Return the MySQL of Debian's packages in the cache.

    Raises:
        MySQLUnavailable: they have not been fetched.
    """
    record = _folder() / "packages.json"
    try:
        version = str(json.loads(record.read_text())["mysql"])
    except FileNotFoundError:
        raise MySQLUnavailable(f"no packages in {_folder()} yet") from None
    except (ValueError, KeyError) as error:
        raise MySQLUnavailable(f"{record} is damaged; remove {_folder()} and try again") from error
    return _unpacked(_folder() / "root", version)


def _unpacked(root: Path, version: str) -> MySQL:
    """Describe the MySQL in the folder `root` of unpacked Debian packages."""
    loaders = sorted((root / "usr" / "lib").glob("*-linux-gnu*/ld-linux*.so.*"))
    if not loaders:
        raise MySQLUnavailable(f"{root} has no dynamic loader; remove {root.parent} and try again")
    library = loaders[0].parent
    libraries = [library, root / "usr/lib/mysql/private", *sorted(library.glob("mysqlrouter*/private"))]
    libraries += [folder for folder in (root / "usr/lib/mysql-router", library / "mysql-router")]
    search = ":".join(str(folder) for folder in libraries if folder.is_dir())
    plugins = sorted(root.glob("usr/lib/**/routing.so"))
    return MySQL(
        version=version,
        origin="debian",
        basedir=root / "usr",
        plugin_dir=root / "usr/lib/mysql/plugin",
        share_dir=root / "usr/share/mysql",
        router_plugin_dir=plugins[0].parent if plugins else None,
        environment={"OPENSSL_MODULES": str(library / "ossl-modules")},
        launcher=(str(loaders[0]), "--library-path", search),
        programs=(root / "usr/sbin", root / "usr/bin"),
    )


@functools.lru_cache(maxsize=4)
def _found(_path: str, _cache: str) -> MySQL:
    try:
        return on_path()
    except MySQLUnavailable as path_reason:
        try:
            return in_cache()
        except MySQLUnavailable as cache_reason:
            raise MySQLUnavailable(f"{path_reason}; {cache_reason}") from None


def find() -> MySQL:
    """Return the MySQL to use, without downloading anything; looked for once a process.

    Raises:
        MySQLUnavailable: there is none yet; `ensure` fetches it.
    """
    return _found(os.environ.get("PATH", ""), str(cache_folder()))


def ensure(progress: Report = silent) -> MySQL:
    """Return the MySQL to use, fetching Debian's packages into the cache where none is there.

    Args:
        progress: told how far the download is.

    Raises:
        MySQLUnavailable: there is none and none could be fetched.
    """
    try:
        return find()
    except MySQLUnavailable as error:
        seen = str(error)
    progress("waiting for another download", None)
    with locked(cache_folder() / "mysql.lock"):
        try:
            return find()  # another process has just fetched it
        except MySQLUnavailable:
            pass
        try:
            _fetch(progress)
            return find()
        except (debian_packages.DownloadFailed, subprocess.CalledProcessError) as error:
            raise MySQLUnavailable(
                f"MySQL {'.'.join(map(str, OLDEST))} or newer was looked for and not found: {seen}; "
                f"fetching Debian's packages failed: {error}. "
                "Install mysqld and mysqlrouter (8.4 or newer) so that both are on PATH, then run this again."
            ) from error


def _fetch(progress: Report) -> None:
    """Fetch the packages into a folder beside the final one and move it there when it is whole."""
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Under the lock: a folder left by an attempt that died is nobody's.
    for leftover in folder.parent.glob("mysql.part-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix="mysql.part-"))
    try:
        versions = debian_packages.download(PACKAGES, part / "root", progress)
        mysql = _unpacked(part / "root", "unknown")
        ran = subprocess.run(
            mysql.command("mysqld", "--version"), capture_output=True, text=True, env={**mysql.environment}
        )
        try:
            version = ".".join(map(str, parse_version(ran.stdout)))
        except ValueError as error:
            raise debian_packages.DownloadFailed(
                f"the server that was fetched does not run here: {error} {ran.stderr.strip()[:300]}"
            ) from error
        record = {"mysql": version, "suite": debian_packages.SUITE, "packages": dict(sorted(versions.items()))}
        (part / "packages.json").write_text(json.dumps(record, indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def data_template(progress: Report = silent) -> Path:
    """Return a data folder as ``mysqld --initialize-insecure`` makes it, made once for each version.

    Members start from a copy of it (`copy_data`): it has user ``root@localhost`` without a password and no
    ``auto.cnf``, so every copy gets a server UUID of its own.
    """
    mysql = ensure(progress)
    target = cache_folder() / "mysql-data" / f"{mysql.version}-{mysql.origin}"
    if target.is_dir():
        return target
    with locked(cache_folder() / "mysql-data.lock"):
        if target.is_dir():
            return target
        progress("making a data folder", None)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="part-") as work:
            data = Path(work) / "data"
            ran = subprocess.run(
                mysql.command(
                    "mysqld", "--no-defaults", *mysql.server_options, "--initialize-insecure", f"--datadir={data}"
                ),
                capture_output=True,
                text=True,
                env={**os.environ, **mysql.environment},
                cwd=work,
            )
            if ran.returncode:
                last = "\n".join(ran.stderr.strip().splitlines()[-5:])
                raise MySQLUnavailable(f"mysqld {mysql.version} could not make a data folder:\n{last}")
            (data / "auto.cnf").unlink(missing_ok=True)
            data.rename(target)
    return target


def copy_data(target: Path) -> None:
    """Copy the data template into the folder `target`, whole or not at all.

    Args:
        target: the new member's data folder; it must be missing or empty.

    Raises:
        FileExistsError: `target` holds files.
    """
    if target.is_dir() and any(target.iterdir()):
        raise FileExistsError(f"{target} is not empty: a data folder is only made in an empty one")
    template = data_template()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.part-"))
    try:
        subprocess.run(
            ["cp", "-a", "--reflink=auto", "--sparse=always", f"{template}/.", str(part)],
            check=True,
            capture_output=True,
        )
        part.chmod(0o750)
        part.replace(target)  # replaces an empty folder
    finally:
        shutil.rmtree(part, ignore_errors=True)


def main() -> int:
    """Fetch what is missing and print which MySQL is used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        with shown("MySQL") as progress:
            mysql = ensure(progress)
            template = data_template(progress)
    except MySQLUnavailable as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"MySQL {mysql.version} ({mysql.origin}) in {mysql.basedir}; data template {template}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
