"""A fault under way: injected in a thread of its own, held, ended, put back, and seen to have ended."""

from __future__ import annotations

import threading

from steps.drill.clock import Clock
from steps.drill.evidence import Target
from steps.drill.fault import Fault, Scene
from steps.drill.measurement import Measurement
from steps.drill.target import memory
from steps.log import log

INJECTION_SECONDS = 12.0
"""How long the end of the drill waits for an injection, or the end of one, that is under way.

A step that is told to end has 30 s for everything, its last words included.
"""
AGAIN_SECONDS = 1.0
"""How long after a try to end a fault that has been held the next one comes, where that did not work."""
TRIES = 3
"""How often a fault is told to end, a second apart, before the drill says that it may go on."""


class Injection:
    """One fault and what has become of it; notes all of it in the measurement. Use once.

    Args:
        fault: what to inject.
        scene: where.
        measurement: of the drill.
        clock: the drill's.
        hold_seconds: how long a fault that lasts goes on.
    """

    def __init__(
        self, fault: Fault, scene: Scene, measurement: Measurement, clock: Clock, *, hold_seconds: float
    ) -> None:
        self._fault, self._scene, self._measurement, self._clock = fault, scene, measurement, clock
        self._hold_seconds = hold_seconds
        self._thread: threading.Thread | None = None
        self._release: threading.Thread | None = None
        self._release_began = 0.0

    def begin(self, target: Target) -> None:
        """Inject the fault into its target, in the background."""
        self._measurement.target = target
        self._measurement.injected_at = self._clock()
        self._thread = threading.Thread(target=self._inject, args=(target,), name="inject", daemon=True)
        self._thread.start()
        log("injected", plan=self._measurement.plan)

    def _inject(self, target: Target) -> None:
        try:
            self._measurement.witness = self._fault.inject(self._scene, target) or ""
        except Exception as error:  # the drill goes on: proof decides what this means
            self._measurement.injection_error = f"{type(error).__name__}: {error}"
        self._measurement.injected_until = self._clock()

    @property
    def under_way(self) -> bool:
        """Whether the call that injects has not returned."""
        return self._thread is not None and self._thread.is_alive()

    def lasts(self, now: float) -> bool:
        """Tell whether a fault that lasts still does, and begin to end it when it has been held for long enough."""
        if not self._fault.lasts:
            return False
        until, release = self._measurement.injected_until, self._release
        if self._measurement.released_at is not None or until is None or now - until < self._hold_seconds:
            return self._measurement.released_at is None
        # Again, until it is done: an API server that did not answer once would have the fault go on to the end.
        if release is None or (not release.is_alive() and now - self._release_began >= AGAIN_SECONDS):
            self._release, self._release_began = threading.Thread(target=self._stop, name="release", daemon=True), now
            self._release.start()
        return True

    def finish(self, *, undo: bool) -> None:
        """End what still goes on, and look whether it is over. Does nothing where nothing was injected.

        Args:
            undo: put back at once what the fault has changed; after a drill that came to its end the exit handler
                does that.
        """
        measurement, fault = self._measurement, self._fault
        if self._thread is None:
            return
        fault.interrupt()
        limit = self._clock() + INJECTION_SECONDS
        # Not before the injection is over, which would outlive its end.
        for thread in (self._thread, self._release):
            if thread is not None:
                thread.join(max(0.0, limit - self._clock()))
        for turn in range(1, TRIES + 1):
            self._stop()
            measurement.still_acting = self._look(undo=undo)
            if not measurement.still_acting:
                log("fault-has-ended", proof=measurement.fault_ended, undone=measurement.undone)
                return
            log("fault-may-go-on", attempt=turn, why=measurement.still_acting)
            threading.Event().wait(1.0 if turn < TRIES else 0.0)

    def _stop(self) -> None:
        """End a fault that lasts; what goes wrong is seen by `_look`, and the exit handler and the reaper come next."""
        measurement = self._measurement
        if not self._fault.lasts or measurement.released_at is not None:
            return
        try:
            self._fault.stop(self._scene, measurement.target)
        except Exception as error:
            if (hole := f"ending the fault failed: {error}") not in measurement.holes:
                measurement.holes.append(hole)
            return
        measurement.released_at = self._clock()
        log("fault-ended", after_seconds=round(measurement.released_at - (measurement.injected_at or 0.0), 3))

    def _look(self, *, undo: bool) -> str:
        """Put back and look; return why the fault may go on, empty where it has ended."""
        measurement, target = self._measurement, self._measurement.target
        if self.under_way:
            return f"its injection did not come to an end within {INJECTION_SECONDS:.0f} s"
        try:
            if undo:
                measurement.undone += self._fault.undo(self._scene, memory(target))
            measurement.fault_ended = self._fault.ended(self._scene, target)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""
