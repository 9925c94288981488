"""The one process that starts a platform's parts, keeps them running, and ends them.

``python -m tiphys.local.platform.supervisor --home HOME``. A part that ends is started again, at once the
first time and then with a growing delay. TERM ends the platform in order (see `ending`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import tiphys
from tiphys.local.platform.ending import POD_SECONDS, end_everything
from tiphys.local.platform.parts import PARTS, Part
from tiphys.local.platform.processes import Process, end, of_platform
from tiphys.local.platform.record import PartState, Record, hold, tool_version
from tiphys.local.service import run_part
from tiphys.local.settings import PLATFORM_VARIABLE, Settings, cache_folder

LONGEST_DELAY = 30.0
STEADY_SECONDS = 60.0
"""A part that lived this long starts with a clean sheet."""
LOG_LIMIT = 20_000_000
"""Bytes above which a part's log is put aside when the part starts."""
API_SECONDS = 20.0
"""How long the other parts wait for the API server's port; they wait for its answers by themselves."""

log = logging.getLogger(__name__)


def restart_delay(quick_ends: int) -> float:
    """Return the seconds to wait before a part starts again that has ended so often shortly after starting."""
    return 0.1 if quick_ends <= 1 else min(2.0 ** (quick_ends - 2), LONGEST_DELAY)


class Supervisor:
    """Keeps the parts of one platform."""

    def __init__(self, home: Path, parts: Sequence[Part] = PARTS, pod_seconds: float = POD_SECONDS):
        self.home = home
        self.parts = parts
        self.pod_seconds = pod_seconds
        self.settings = Settings.load(home)
        self.record = Record(os.getpid(), time.time(), tool_version(), {part.name: PartState() for part in parts})
        self.ending = False

    async def run(self) -> int:
        """Start the parts and keep them until cancelled; then end the platform."""
        handle = hold(self.home)
        if handle is None:
            log.error("another supervisor keeps this platform", extra={"home": str(self.home)})
            return 1
        keepers: list[asyncio.Task[None]] = []
        try:
            self.record.save(self.home)
            await asyncio.to_thread(self._end_leftovers)
            for part in self.parts:
                keepers.append(asyncio.create_task(self._keep(part)))
                if part.name == "apiserver" and part.exists():
                    await self._wait_for_port(API_SECONDS)
            await asyncio.gather(*keepers)
            await asyncio.Event().wait()
        finally:
            # Shielded from a second signal: half an ending would leave processes behind.
            await asyncio.shield(self._end(keepers))
            os.close(handle)
        return 0

    def _end_leftovers(self) -> None:
        """End the parts that an earlier supervisor left behind when it was killed; pods keep running."""

        def leftovers() -> list[Process]:
            found = of_platform(self.home)
            return [process for process in found if any(part.is_run_by(process.words) for part in self.parts)]

        if found := leftovers():
            log.warning("ending parts without a supervisor", extra={"processes": [str(one) for one in found]})
            end(leftovers, 8.0)

    async def _keep(self, part: Part) -> None:
        """Start one part, and again whenever it ends."""
        if not part.exists():
            self._note(part, "absent", message="not in this installation")
            return
        quick_ends = 0
        while not self.ending:
            started = time.monotonic()
            process = await self._start(part)
            self._note(part, "running", process.pid)
            code = await process.wait()
            if self.ending:
                return
            quick_ends = 1 if time.monotonic() - started > STEADY_SECONDS else quick_ends + 1
            delay = restart_delay(quick_ends)
            how = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
            log.warning("a part ended", extra={"ended": part.name, "how": how, "restart_in_seconds": delay})
            self.record.parts[part.name].restarts += 1
            self._note(part, "restarting", message=f"{how}; see {self.settings.logs / part.name}.log")
            await asyncio.sleep(delay)

    async def _start(self, part: Part) -> asyncio.subprocess.Process:
        """Start a part's process, its output going to its log."""
        path = self.settings.logs / f"{part.name}.log"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LOG_LIMIT:
                path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *part.command(self.home),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=part_environment(self.home, downloads=part.name == "s3"),
                cwd=self.home,
                start_new_session=True,  # a ^C in some terminal is not for the parts
            )

    async def _wait_for_port(self, seconds: float) -> None:
        """Wait until something takes connections at the API server's address."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                _, writer = await asyncio.open_connection(self.settings.api_host, self.settings.api_port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return

    async def _end(self, keepers: list[asyncio.Task[None]]) -> None:
        """End everything in order and write down what could not be ended."""
        self.ending = True
        log.info("ending the platform")
        loop = asyncio.get_running_loop()

        def say(name: str, state: str, detail: str) -> None:
            loop.call_soon_threadsafe(self._note_ending, name, state, detail)

        left = await asyncio.to_thread(end_everything, self.home, say, (os.getpid(),), self.parts, self.pod_seconds)
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        self.record.left = [str(process) for process in left]
        self.record.pid = 0
        self.record.save(self.home)
        log.info("ended", extra={"left": self.record.left})

    def _note_ending(self, name: str, state: str, detail: str) -> None:
        self.record.parts.setdefault(name, PartState()).state = state
        self.record.parts[name].message = detail
        self.record.parts[name].pid = 0
        self.record.parts[name].since = time.time()
        self.record.save(self.home)

    def _note(self, part: Part, state: str, pid: int = 0, message: str = "") -> None:
        now = self.record.parts[part.name]
        now.state, now.pid, now.message, now.since = state, pid, message, time.time()
        self.record.save(self.home)


def part_environment(home: Path, downloads: bool = True) -> dict[str, str]:
    """Return the environment of a platform's parts: the caller's, marked as the platform's.

    Args:
        home: the platform's folder.
        downloads: whether the part may fetch things; the others talk to this machine only, so that a proxy of
            the caller's would be in the way.
    """
    root = str(Path(tiphys.__file__).parents[1])
    path = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    kept = {key: value for key, value in os.environ.items() if downloads or not key.lower().endswith("_proxy")}
    return {
        **kept,
        PLATFORM_VARIABLE: str(home),
        "TIPHYS_HOME": str(home),
        "TIPHYS_CACHE": str(cache_folder()),  # what HOME says in a container is another one
        # The tool may have been started from a source tree that is not installed.
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
    }


async def run(home: Path) -> int:
    """Keep the platform in `home` until told to end."""
    return await Supervisor(home).run()


if __name__ == "__main__":
    sys.exit(run_part("supervisor", run))
