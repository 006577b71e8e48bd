"""Progress, log lines and the result as JSON lines on standard output."""
import json
import sys
import threading
import time
from typing import Optional, TextIO

# Each stage's share of a run's time, in per cent: an estimate for an object with about 16 photos.
STAGES: list[tuple[str, float]] = [
    ("dataset", 3.0), ("opensfm", 37.0), ("openmvs", 32.0), ("odm_filterpoints", 2.0), ("odm_meshing", 8.0),
    ("mvs_texturing", 10.0), ("odm_georeferencing", 2.0), ("odm_dem", 2.0), ("odm_orthophoto", 2.0),
    ("odm_report", 2.0),
]


#: Seconds without a report after which progress creeps on, and the share of the stage's remaining part that each such step covers.
QUIET, _CREEP = 5.0, 0.02


def duration(seconds: float) -> str:
    """A length of time for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Progress:
    """Writes JSON lines. Overall progress never goes back and never stands still for long.

    Some steps (bundle adjustment, the Poisson surface) report nothing while they work. Progress then creeps towards the end of the
    stage, more and more slowly, so that people see that the run is alive.

    The time left is estimated from the pace since the first stage that really ran. Stages that a continued run skips do not make it
    look faster than it is.
    """

    def __init__(self, stream: Optional[TextIO] = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.RLock()
        self._told_at = time.monotonic()
        self._ended = threading.Event()
        self._pulse: Optional[threading.Thread] = None
        self._start_of: dict[str, float] = {}
        total = 0.0
        for name, share in STAGES:
            self._start_of[name] = total
            total += share
        self._scale = 100.0 / total
        self._overall = 0.0
        self._stage = STAGES[0][0]
        self._pace_from: Optional[tuple[float, float]] = None
        self.timings: dict[str, float] = {}

    def _write(self, line: dict[str, object]) -> None:
        with self._lock:
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()

    def begin(self, stage: str, skipped: bool = False) -> None:
        """Enter a stage. ``skipped``: the results of an earlier run are used."""
        with self._lock:
            self._stage = stage
            if not skipped and self._pace_from is None:
                self._pace_from = (time.monotonic(), self._start_of[stage] * self._scale)
            self.update(0.0)
            if self._pulse is None:
                self._pulse = threading.Thread(target=self._creep, daemon=True, name="progress")
                self._pulse.start()

    def _creep(self) -> None:
        while not self._ended.wait(0.2 * QUIET):
            with self._lock:
                if not self._ended.is_set() and time.monotonic() - self._told_at >= QUIET:
                    end = (self._start_of[self._stage] + dict(STAGES)[self._stage]) * self._scale
                    self._tell(self._overall + _CREEP * max(end - self._overall, 0.0))

    def update(self, fraction: float) -> None:
        """Report that ``fraction`` (0..1) of the current stage is done."""
        with self._lock:
            share = dict(STAGES)[self._stage]
            value = (self._start_of[self._stage] + share * min(max(fraction, 0.0), 1.0)) * self._scale
            if value >= self._overall:
                self._tell(value)

    def _tell(self, value: float) -> None:
        self._overall, self._told_at = value, time.monotonic()
        eta = None
        if self._pace_from is not None:
            began, at = self._pace_from
            done = self._overall - at
            if done >= 2.0:
                eta = round((self._told_at - began) / done * (100.0 - self._overall), 1)
        self._write({"type": "progress", "stage": self._stage, "progress": round(self._overall, 3), "eta_seconds": eta})

    def log(self, message: str) -> None:
        """Write one line for the console."""
        self._write({"type": "log", "message": message})

    def result(self, ok: bool, error: Optional[str] = None) -> None:
        """Write the last line: whether the run succeeded, and the error if not."""
        with self._lock:
            self._ended.set()
        if ok:
            self._overall = 100.0
            self._write({"type": "progress", "stage": STAGES[-1][0], "progress": 100.0, "eta_seconds": 0.0})
        self._write({"type": "result", "ok": ok, "error": error})
