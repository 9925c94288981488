"""The steps' log: lines that programs read, whoever writes at the same time."""

from __future__ import annotations

import json
import subprocess
import sys

WRITERS = """
import sys, threading
from steps.log import log
sys.setswitchinterval(1e-5)
def write(number):
    for turn in range(1000):
        log("written", number=number, turn=turn, text="x" * 200)
threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_lines_of_several_threads_stay_apart() -> None:
    done = subprocess.run([sys.executable, "-c", WRITERS], stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {(line["number"], line["turn"]) for line in lines} == {(n, t) for n in range(4) for t in range(1000)}
