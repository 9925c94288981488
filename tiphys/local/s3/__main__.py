"""``python -m tiphys.local.s3 --home HOME``."""

import sys

from tiphys.local.s3.server import run
from tiphys.local.service import run_part

if __name__ == "__main__":
    sys.exit(run_part("s3", run))
