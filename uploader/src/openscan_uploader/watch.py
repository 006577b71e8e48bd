"""Watches a directory. Each new subfolder is a set: it is sent when it has stopped changing, and its model is put beside its photos."""
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from openscan_uploader.client import Client
from openscan_uploader.control import Control, OnProgress, ignore
from openscan_uploader.errors import (
    ChangedPhotos,
    NotPossible,
    NoUsablePhotos,
    ProcessingFailed,
    Refused,
    Unreachable,
    UploaderError,
    WrongToken,
)
from openscan_uploader.server import DONE
from openscan_uploader.sets import STARTED

#: The folder of the model, within the folder of its photos.
MODEL = "model"
QUIET_SECONDS = 60.0
_MODELS_AT_ONCE = 8

Say = Callable[[str, str], None]
Look = Tuple[Tuple[str, int, int], ...]


class Watch:
    """One watched directory. It can be restarted at any time: what was sent is not sent again."""

    def __init__(self, client: Client, directory: Path, *, quiet_seconds: float = QUIET_SECONDS, every_seconds: float = 5.0,
                 out: Optional[Path] = None, at_once: int = 3, say: Say, progress: OnProgress = ignore,
                 control: Optional[Control] = None) -> None:
        """Prepare to watch. It looks at nothing yet.

        Args:
            quiet_seconds: a subfolder is sent after this long without changes.
            every_seconds: how often to look.
            out: where to put the models, each in a folder with its set's name; beside the photos if None.
            say: called with a subfolder's name and a sentence about it.

        Raises:
            NotPossible: the directory does not exist.
        """
        if not directory.is_dir():
            raise NotPossible(f"{directory} is not a directory. Give the directory in which your camera or program makes a folder per set.")
        self._client, self._directory, self._out = client, directory, out
        self._quiet, self._every, self._at_once = quiet_seconds, every_seconds, at_once
        self._say, self._progress, self._control = say, progress, control or Control()
        self._seen: Dict[str, Tuple[Look, float]] = {}
        self._settled: Dict[str, Look] = {}
        self._models: Dict[str, Future[None]] = {}
        self._saying = threading.Lock()
        self._complaint = ("", "")

    def run(self, once: bool = False) -> None:
        """Watch until canceled.

        Args:
            once: return as soon as all present subfolders are done.

        Raises:
            WrongToken, Canceled.
        """
        with ThreadPoolExecutor(_MODELS_AT_ONCE, thread_name_prefix="model") as pool:
            try:
                while True:
                    busy = self._look(pool)
                    waits = [name for name, model in self._models.items() if not model.done()]
                    if once and not busy and not waits:
                        return
                    self._control.sleep(self._every)
            except BaseException:
                self._control.cancel()
                raise

    def _look(self, pool: ThreadPoolExecutor) -> bool:
        """Look at each subfolder once. Returns whether one is not settled yet."""
        busy = False
        try:
            folders = sorted(path for path in self._directory.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError as error:  # a drive or share may be missing for a while
            self._complain(self._directory.name, f"cannot be read ({error.strerror}). Trying again.")
            return True
        for folder in folders:
            name, look = folder.name, _look_at(folder)
            before = self._seen.get(name)
            if before is None or before[0] != look:
                self._seen[name] = (look, time.monotonic())
            if not look or self._settled.get(name) == look:
                continue
            busy = True
            if time.monotonic() - self._seen[name][1] >= self._quiet and not self._is_being_fetched(name):
                self._send(folder, look, pool)
        return busy

    def _is_being_fetched(self, name: str) -> bool:
        return name in self._models and not self._models[name].done()

    def _send(self, folder: Path, look: Look, pool: ThreadPoolExecutor) -> None:
        name = folder.name
        try:
            known = self._client.earlier(folder)
            project = self._client.upload(folder, at_once=self._at_once, progress=self._progress, control=self._control)
            self._settled[name] = look
            if any(each.project == project and each.model and each.status == DONE for each in known):
                return  # sent and fetched before
            before = any(each.project == project and each.state == STARTED for each in known)
            self._tell(name, "was sent before." if before else "has been sent.")
            self._models[name] = pool.submit(self._fetch, folder, project)
        except WrongToken:
            raise
        except ChangedPhotos:
            self._seen[name] = (look, time.monotonic())  # still being written: wait for quiet again
        except Unreachable as error:
            self._complain(name, f"has not been sent yet. {error}")
        except NoUsablePhotos as error:
            self._settled[name] = look
            self._tell(name, str(error))
        except (NotPossible, Refused) as error:
            self._settled[name] = look  # until something in the folder changes
            self._tell(name, f"was not sent. {error}")

    def _fetch(self, folder: Path, project: str) -> None:
        parent = self._out / folder.name if self._out else folder
        try:
            self._client.wait(project, control=self._control)
            model = self._client.download(project, parent / f"{MODEL}.zip", unpack=True, control=self._control)
            self._tell(folder.name, f"has its model in {model}.")
        except ProcessingFailed as error:
            self._tell(folder.name, f"has no model. {error}")
        except UploaderError as error:
            if not self._control.canceled:
                self._tell(folder.name, f"has a model on the server that could not be downloaded. {error}")

    def _complain(self, name: str, sentence: str) -> None:
        """Report a problem once, even if it repeats."""
        if self._complaint != (name, sentence):
            self._complaint = (name, sentence)
            self._tell(name, sentence)

    def _tell(self, name: str, sentence: str) -> None:
        with self._saying:
            self._say(name, sentence)


def _look_at(folder: Path) -> Look:
    """Names, sizes and times of a folder's files, without the downloaded model."""
    found: List[Tuple[str, int, int]] = []
    for directory, folders, files in os.walk(str(folder)):
        if directory == str(folder):
            folders[:] = [name for name in folders if not _is_ours(name)]
        for name in files:
            if name.startswith(".") or (directory == str(folder) and _is_ours(name)):
                continue
            try:
                about = os.stat(os.path.join(directory, name))
            except OSError:
                continue
            found.append((os.path.join(directory, name), about.st_size, about.st_mtime_ns))
    return tuple(sorted(found))


def _is_ours(name: str) -> bool:
    """Whether a download made this file or folder beside the photos: `model`, `model 2`, `model.openscan-download` …"""
    return name == MODEL or name.startswith((f"{MODEL} ", f"{MODEL}.openscan-download", f"{MODEL}.unpacking"))
