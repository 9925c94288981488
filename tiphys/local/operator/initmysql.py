"""Init container `initmysql`: gives a new member its data folder; one that holds data is never touched."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tiphys.local.mysql_packages import copy_data
from tiphys.local.operator.helper import options, say


def prepare(data: Path) -> bool:
    """Fill `data` with a fresh server's files if it is empty; return whether it was.

    The copy appears whole or not at all, so data of an attempt that was killed can only lie beside it.
    """
    for leftover in data.parent.glob(f".{data.name}.part-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if data.is_dir() and any(data.iterdir()):
        return False
    copy_data(data)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the init container."""
    data = Path(options("initmysql", argv, "data").data)
    say("data folder", path=str(data), fresh=prepare(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
