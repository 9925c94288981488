"""One installation of MySQL: the programs on PATH, or Debian's packages unpacked into a folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OLDEST = (8, 4)
"""The oldest MySQL that the runbooks support."""

PLUGINS = ("group_replication.so", "mysql_clone.so")
"""What a member of a group needs beside the server itself."""


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


def unpacked(root: Path, version: str) -> MySQL:
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
