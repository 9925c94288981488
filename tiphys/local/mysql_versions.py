"""Which installed MySQL an image's tag means here: the found one, and those that somebody has put into the cache.

    ~/.cache/tiphys/mysql-versions/9.7.3/     Debian's packages of it, unpacked, or a binary distribution

A tag whose very version is installed runs that one. Another patch release of an installed series runs the newest
installed one of that series, and the pod has an event that says so: patch releases of a series share their data
files. For a tag of any other series there is no image, as in a registry that has none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tiphys.local.mysql_installation import MySQL, MySQLUnavailable, unpacked
from tiphys.local.mysql_packages import find
from tiphys.local.operator.spec import TESTED
from tiphys.local.settings import cache_folder

FOLDER = "TIPHYS_MYSQL_VERSIONS"
"""Variable that names another folder than ``mysql-versions`` in the cache."""


@dataclass(frozen=True)
class Choice:
    """What runs for a tag.

    Attributes:
        mysql: the installation.
        note: what whoever looks at the pod should know; empty where it is the very version of the tag.
    """

    mysql: MySQL
    note: str = ""


def folder() -> Path:
    """Return where further versions are looked for, a folder for each, named by its version."""
    return Path(os.environ.get(FOLDER) or cache_folder() / "mysql-versions")


def installed() -> list[MySQL]:
    """Return every MySQL that there is here, the found one first.

    Raises:
        MySQLUnavailable: there is none.
    """
    reason, found = "", []
    try:
        found = [find()]
    except MySQLUnavailable as error:
        reason = str(error)
    places = sorted(folder().iterdir()) if folder().is_dir() else []
    found += [described(place) for place in places if re.fullmatch(r"\d+\.\d+\.\d+", place.name)]
    if not found:
        raise MySQLUnavailable(reason)
    return found


def described(root: Path) -> MySQL:
    """Return the MySQL in a folder that is named by its version.

    Raises:
        MySQLUnavailable: it holds neither Debian's packages nor a binary distribution.
    """
    if (root / "usr/sbin/mysqld").exists():
        return unpacked(root, root.name)
    programs = tuple(place for place in (root / "bin", root / "sbin") if (place / "mysqld").exists())
    if not programs:
        raise MySQLUnavailable(f"{root} has no usr/sbin/mysqld and no bin/mysqld: unpack MySQL {root.name} there")
    return MySQL(
        version=root.name,
        origin="versions",
        basedir=root,
        plugin_dir=root / "lib/plugin",
        share_dir=root / "share",
        router_plugin_dir=None,
        programs=(root / "bin", root / "sbin"),
    )


def choose(image: str, known: Sequence[MySQL]) -> Choice:
    """Return what runs for an image such as ``.../community-server:9.7.4``.

    Raises:
        MySQLUnavailable: no version of the tag's series is installed; the message names those that are.
    """
    name, _, tag = image.rpartition(":")
    for mysql in known:
        if mysql.version == tag:
            return Choice(mysql)
    wanted = _numbers(tag)
    same = [mysql for mysql in known if wanted and _numbers(mysql.version)[:2] == wanted[:2]]
    if same:
        best = max(same, key=lambda one: _numbers(one.version))
        return Choice(best, f"{image} is not installed here: {best.version}, of the same series, runs in its place")
    there = ", ".join(sorted({mysql.version for mysql in known}, key=_numbers))
    raise MySQLUnavailable(
        f"there is no image {image}: MySQL {there} is installed here, and nothing of series "
        f"{'.'.join(map(str, wanted[:2])) or tag}. To have {tag}, unpack it into {folder() / tag}"
    )


def resolve(image: str) -> Choice:
    """Return what runs for an image, of what is installed now.

    Raises:
        MySQLUnavailable: nothing that fits.
    """
    return choose(image, installed())


def default_version() -> str:
    """Return the version of a cluster that names none: the found one's, or else the newest that was tested."""
    try:
        return installed()[0].version
    except MySQLUnavailable:
        return TESTED


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else ()
