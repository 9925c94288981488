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
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tiphys.local import debian_packages
from tiphys.local.files import locked
from tiphys.local.mysql_installation import OLDEST, MySQL, MySQLUnavailable, on_path, parse_version, unpacked
from tiphys.local.progress import Report, shown, silent
from tiphys.local.settings import cache_folder

PACKAGES = ["mysql-server-core", "mysql-client-core", "mysql-router"]

__all__ = [
    "MySQL",
    "MySQLUnavailable",
    "copy_data",
    "data_template",
    "ensure",
    "find",
    "in_cache",
    "on_path",
    "parse_version",
]


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
    return unpacked(_folder() / "root", version)


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
        mysql = unpacked(part / "root", "unknown")
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


def data_template(progress: Report = silent, mysql: MySQL | None = None) -> Path:
    """Return a data folder as ``mysqld --initialize-insecure`` makes it, of `mysql` or else the found one.

    It is made once for each version. Members start from a copy of it (`copy_data`): it has user ``root@localhost``
    without a password and no ``auto.cnf``, so every copy gets a server UUID of its own.
    """
    mysql = mysql or ensure(progress)
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


def copy_data(target: Path, mysql: MySQL | None = None) -> None:
    """Copy the data template into the folder `target`, whole or not at all.

    Args:
        target: the new member's data folder; it must be missing or empty.
        mysql: whose it is to be; the found one where None.

    Raises:
        FileExistsError: `target` holds files.
    """
    if target.is_dir() and any(target.iterdir()):
        raise FileExistsError(f"{target} is not empty: a data folder is only made in an empty one")
    template = data_template(mysql=mysql)
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
