"""Progress, log lines and the result as JSON lines on standard output."""
import json
import sys
import threading
import time
from typing import Optional, TextIO

# Share of a run that each stage takes, in per cent: an estimate for an object of some 16 photos.
STAGES: list[tuple[str, float]] = [
    ("dataset", 3.0), ("opensfm", 27.0), ("openmvs", 40.0), ("odm_filterpoints", 2.0), ("odm_meshing", 8.0),
    ("mvs_texturing", 12.0), ("odm_georeferencing", 2.0), ("odm_dem", 2.0), ("odm_orthophoto", 2.0),
    ("odm_report", 2.0),
]


class Progress:
    """Writes JSON lines; overall progress never goes back.

    The time left is what is left of the work at the pace since the first stage that really ran, so stages that a
    continued run skips do not make it look faster than it is.
    """

    def __init__(self, stream: Optional[TextIO] = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
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
        """Enter a stage; ``skipped`` says that its results of an earlier run are used."""
        self._stage = stage
        if not skipped and self._pace_from is None:
            self._pace_from = (time.monotonic(), self._start_of[stage] * self._scale)
        self.update(0.0)

    def update(self, fraction: float) -> None:
        """``fraction`` (0..1) of the current stage is done."""
        share = dict(STAGES)[self._stage]
        value = (self._start_of[self._stage] + share * min(max(fraction, 0.0), 1.0)) * self._scale
        if value < self._overall:
            return
        self._overall = value
        eta = None
        if self._pace_from is not None:
            began, at = self._pace_from
            done = self._overall - at
            if done >= 2.0:
                eta = round((time.monotonic() - began) / done * (100.0 - self._overall), 1)
        self._write({"type": "progress", "stage": self._stage, "progress": round(self._overall, 2),
                     "eta_seconds": eta})

    def log(self, message: str) -> None:
        """One line for the console."""
        self._write({"type": "log", "message": message})

    def result(self, ok: bool, error: Optional[str] = None) -> None:
        """The last line."""
        if ok:
            self._overall = 100.0
            self._write({"type": "progress", "stage": STAGES[-1][0], "progress": 100.0, "eta_seconds": 0.0})
        self._write({"type": "result", "ok": ok, "error": error})
