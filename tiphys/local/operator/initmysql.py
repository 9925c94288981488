"""Init container `initmysql`: gives a new member its data folder; one that holds data is never touched."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tiphys.local.mysql_installation import MySQL
from tiphys.local.mysql_packages import copy_data
from tiphys.local.mysql_versions import resolve
from tiphys.local.operator.helper import options, say


def prepare(data: Path, mysql: MySQL) -> bool:
    """Fill `data` with the files of a fresh server of `mysql` if it is empty; return whether it was.

    The copy appears whole or not at all, so data of an attempt that was killed can only lie beside it.
    """
    for leftover in data.parent.glob(f".{data.name}.part-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if data.is_dir() and any(data.iterdir()):
        return False
    copy_data(data, mysql)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the init container."""
    given = options("initmysql", argv, "data", "image")
    data = Path(given.data)
    say("data folder", path=str(data), fresh=prepare(data, resolve(given.image).mysql))
    return 0


if __name__ == "__main__":
    sys.exit(main())
