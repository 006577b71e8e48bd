"""The run's directory: intermediate files, and which stages are finished with which input and options."""
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from .options import RERUN

WORK_NAME = ".engine"


class Workspace:
    """Remembers finished stages in marker files. A marker contains a digest of everything that the stage depends on.

    A stage counts as finished only if its digest matches. Each digest includes that of the stage before, so changed
    photos or options repeat exactly the stages that depend on them.
    """

    def __init__(self, out: Path, inputs: Any, rerun_from: str = "") -> None:
        self.out = out
        self.root = out / WORK_NAME
        self.root.mkdir(parents=True, exist_ok=True)
        self._digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        if rerun_from:
            for name in RERUN[RERUN.index(rerun_from):]:
                self._marker(name).unlink(missing_ok=True)

    def _marker(self, stage: str) -> Path:
        return self.root / f"{stage}.done"

    def directory(self, name: str, empty: bool = False) -> Path:
        """A subdirectory of the intermediate files."""
        path = self.root / name
        if empty:
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def result(self, name: str) -> Path:
        """A path among the results; its directory is made."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def enter(self, stage: str, settings: dict[str, Any]) -> bool:
        """Whether the stage is finished already for this input. Stages must be entered in order."""
        text = json.dumps([self._digest, stage, settings], sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        marker = self._marker(stage)
        return marker.exists() and marker.read_text() == self._digest

    def finish(self, stage: str) -> None:
        """Mark the stage entered last as finished. The marker appears complete or not at all."""
        temporary = self.root / f"{stage}.part"
        temporary.write_text(self._digest)
        temporary.replace(self._marker(stage))

    def write_json(self, name: str, value: Any) -> None:
        """Write a small intermediate result."""
        (self.root / name).write_text(json.dumps(value))

    def read_json(self, name: str, default: Optional[Any] = None) -> Any:
        """What write_json wrote; ``default`` if there is nothing."""
        path = self.root / name
        return json.loads(path.read_text()) if path.exists() else default

    @property
    def token(self) -> str:
        """A digest of everything that the stage entered last depends on."""
        return self._digest

    def update_facts(self, **facts: Any) -> None:
        """Add or replace figures for the report. None removes a figure."""
        merged = {**self.read_json("facts.json", {}), **facts}
        self.write_json("facts.json", {name: value for name, value in merged.items() if value is not None})

    def remove_results(self, names: Sequence[str]) -> None:
        """Delete results (files or directories) of an earlier run, so that none of them is mistaken for a result of this run."""
        for path in (self.out / name for name in names):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all intermediate files."""
        shutil.rmtree(self.root)
