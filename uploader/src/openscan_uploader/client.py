"""The library: one `Client` per server and token."""
import datetime
import json
import os
import re
import shutil
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, List, Optional, Sequence, TypeVar, Union

from openscan_uploader import conversion, downloading, settings, sources
from openscan_uploader.control import Control, OnProgress, Progress, ignore
from openscan_uploader.errors import ChangedPhotos, NotPossible, ProcessingFailed, Refused
from openscan_uploader.photos import Found, Photo, collect, require_enough
from openscan_uploader.sending import Sender
from openscan_uploader.server import CREATED, DONE, EXPIRED, FAILED, Created, Passing, Server, Status, TokenInfo, unreachable
from openscan_uploader.sets import GIVEN_UP, SENDING, STARTED, Set, Sets
from openscan_uploader.sets import token_mark as _token_mark
from openscan_uploader.sources import Part, Source
from openscan_uploader.waits import wait_seconds
from openscan_uploader.words import count, size

PathLike = Union[str, "os.PathLike[str]"]
T = TypeVar("T")

#: The part size of a zip for servers that accept any number of parts: a lost connection then costs little.
_SMALL_PART_BYTES = 25_000_000
_NEEDS_CONVERSION = {"heif", "webp", "bmp", "tiff"}
_LONGEST_NAME = 255
DAY = 86_400.0


@dataclass(frozen=True)
class Plan:
    """What would be sent for a folder, a list of photos, or a zip, and whether the token allows it."""

    found: Found
    photos: int
    size_bytes: int
    #: Why the set cannot be sent; empty if it can.
    problem: str = ""


class Client:
    """A server and a token.

    Errors are subclasses of `UploaderError`; their text says what happened and what to do, and never holds the token.
    """

    def __init__(self, url: str, token: str, *, user: str = "openscan", password: str = "free",  # noqa: S107 - public pair
                 state_directory: Optional[PathLike] = None, patience_seconds: float = DAY) -> None:
        """Make a client. It sends nothing yet.

        Args:
            url: the server's address, as in a browser or in a rig's settings, e.g. ``https://example.org``.
            token: 32 letters and digits.
            user: the user name that every rig sends.
            password: the password that every rig sends.
            state_directory: where to remember sets that are under way; this system's usual place if None.
            patience_seconds: how long to wait for a server that does not answer before giving up.
        """
        self.server = Server(url, token, user, password)
        self.token = token
        self._patience = patience_seconds
        self.sets = Sets(Path(state_directory) if state_directory else settings.state_directory())

    # Asking ---------------------------------------------------------------------------------------------------------

    def token_info(self) -> TokenInfo:
        """The token's credit and limits. Raises WrongToken, Refused, Unreachable."""
        return self._patiently(self.server.token_info, Control(), tries=3)

    def status(self, project: str) -> Status:
        """A project's status. Raises Refused (the server does not know the project), WrongToken, Unreachable."""
        found = self._patiently(lambda: self.server.status(project, self._secret_of(project)), Control(), tries=3)
        self._note_status(found)
        return found

    def reset(self, project: str) -> None:
        """Delete a project: its name is free again, and held credit is returned. Raises WrongToken, Refused, Unreachable."""
        self._patiently(lambda: self.server.reset(project, self._secret_of(project)), Control(), tries=3)
        known = self.sets.of_project(self.token, project)
        if known is not None:
            self.sets.forget(known)

    def plan(self, source: "Union[PathLike, Sequence[PathLike]]") -> Plan:
        """What `upload` would send, without sending anything. Asks the server for the token's limits.

        Raises:
            WrongToken, Refused, Unreachable; NotPossible if the source does not exist.
        """
        made, problem = _look_at(source), ""
        info = self.token_info()
        try:
            if made.how != "archive":
                require_enough(made.found)
            _check_limits(info, made.photos, made.size_bytes)
        except NotPossible as error:
            problem = str(error)
        return Plan(made.found, made.photos, made.size_bytes, problem)

    # Sending --------------------------------------------------------------------------------------------------------

    def upload(self, source: "Union[PathLike, Sequence[PathLike]]", *, project: Optional[str] = None, again: bool = False,
               at_once: int = 3, part_bytes: Optional[int] = None, progress: OnProgress = ignore,
               control: Optional[Control] = None) -> str:
        """Send photos and start processing.

        If an upload of the same photos was interrupted, in this process or an earlier one, it is continued. Photos that were sent before
        and are being processed are not sent again, unless processing failed or `again` is set.

        Args:
            source: a folder (with its subfolders), a list of photos, or a zip.
            project: the project's name; the folder's name and the time if None.
            again: send photos that were sent before as a new project.
            at_once: how many parts to send at the same time.
            part_bytes: the size of parts of a zip, at most 200,000,000; chosen to suit the server if None.
            progress: called about four times per second, in this thread.
            control: lets another thread pause, resume or cancel.

        Returns:
            The project's name, for `status`, `wait`, `download` and `reset`.

        Raises:
            NotPossible: too large, too many photos, too little credit, no photos. Nothing was sent.
            ChangedPhotos: a photo changed while it was being sent. Nothing was started.
            Canceled, Refused, Unreachable, WrongToken.
        """
        control = control or Control()
        progress(Progress("looking"))
        made = _look_at(source)
        info = self._patiently(self.server.token_info, control, progress=progress)
        with self.sets.lock(made.origin):
            current = None if again else self._to_continue(made, project, info, control, progress)
            if current is not None and current.state == STARTED:
                return current.project
            if made.how != "archive":
                require_enough(made.found)
            if current is None:
                current = self._begin(made, project, info, part_bytes, control, progress)
            made_source, parts = _source_of(current)
            try:
                self._send(current, made_source, parts, info, at_once, control, progress)
            except ChangedPhotos:
                self._give_up(current)
                raise
            _remove_converted(self.sets, current)
            return current.project

    def _to_continue(self, made: "_Made", project: Optional[str], info: TokenInfo, control: Control,
                     progress: OnProgress) -> "Optional[Set]":
        """An earlier set of the same, unchanged photos that is under way or done. Gives up unfinished sets whose photos have changed."""
        for known in self.earlier(made.origin):
            if project and known.project != project:
                continue
            if known.state == GIVEN_UP:
                continue
            same = known.same_files(made.entries())
            if known.state == SENDING and not same:
                self._give_up(known)
                continue
            if not same:
                continue
            try:
                status: Optional[Status] = self._patiently(lambda known=known: self.server.status(known.project, known.secret), control,  # type: ignore[misc]
                                                           progress=progress)
            except Refused:
                status = None  # reset, or never created
            if status is not None and status.text not in (CREATED, FAILED, EXPIRED, ""):
                known.state, known.status = STARTED, status.text
                self.sets.save(known)
                return known
            if known.state == SENDING and status is not None and status.text in (CREATED, ""):
                if status.missing_parts is not None:
                    missing = set(status.missing_parts)
                    parts = _source_of(known)[1]
                    known.done = [part.number for part in parts if part.number not in missing]
                return known
            known.state = GIVEN_UP if known.state == SENDING else known.state
            self.sets.save(known)
        return None

    def _begin(self, made: "_Made", project: Optional[str], info: TokenInfo, part_bytes: Optional[int], control: Control,
               progress: OnProgress) -> Set:
        """Make a new set: choose the form in which it is sent, and check its limits. Sends nothing yet."""
        rich = "files" in info.features
        most = min(info.limit_part, part_bytes or info.limit_part)
        name = project or self._new_name(made.origin, rich)
        if not name.strip() or len(name) > _LONGEST_NAME:
            raise NotPossible(f"The project's name must have between 1 and {_LONGEST_NAME} characters. Give another one with --project.")
        current = self.sets.new(server=self.server.base, token_mark=_token_mark(self.token), source=made.origin, project=name,
                                how=made.how, photos=made.photos, size_bytes=made.size_bytes, part_bytes=most, files=made.entries())
        if made.how != "archive":
            as_they_are = rich and not made.found.texts and not made.found.has_masks and part_bytes is None and \
                all(photo.size_bytes <= info.limit_part and len(photo.name) <= 500 for photo in made.found.photos)
            current.how = "files" if as_they_are else "zip"
        # Check before the checksums are read, which takes a while. The zip's headers add little to the size.
        _check_limits(info, current.photos, current.size_bytes)
        if current.how == "zip":
            self._read_checksums(current, made, rich, control, progress)
        source, _ = _source_of(current)
        current.size_bytes = source.size_bytes
        if current.how != "files" and part_bytes is None and rich:
            most_parts = max(info.limit_photos, info.limit_filesize // info.limit_part)
            current.part_bytes = min(most, max(_SMALL_PART_BYTES, -(-current.size_bytes // most_parts)))
        _check_limits(info, current.photos, current.size_bytes)
        self.sets.save(current)
        return current

    def _new_name(self, origin: str, rich: bool) -> str:
        """A name that this computer has not used before."""
        name = _project_name(origin, rich)
        while self.sets.of_project(self.token, name) is not None:
            time.sleep(0.01 if not rich else 0.2)  # names end with the time
            name = _project_name(origin, rich)
        return name

    def _read_checksums(self, current: Set, made: "_Made", rich: bool, control: Control, progress: OnProgress) -> None:
        total, done, last = made.size_bytes, 0, 0.0

        def note(read: int) -> None:
            nonlocal done, last
            done += read
            if control.canceled or time.monotonic() - last > 0.25:
                control.wait_while_paused()
                last = time.monotonic()
                progress(Progress("reading", done, total, project=current.project))

        converted = self._converted(current)
        names = {photo.name for photo in made.found.photos}
        for entry, photo in zip(current.files, made.found.photos + made.found.texts):
            if photo.kind in _NEEDS_CONVERSION and not rich:
                converted.mkdir(parents=True, exist_ok=True)
                target = converted / f"{len(list(converted.iterdir())):05}.jpg"
                conversion.to_jpeg(photo.path, target)
                about = target.stat()
                note(photo.size_bytes)
                jpeg = Photo(_jpeg_name(photo.name, names), str(target), about.st_size, about.st_mtime_ns, "jpeg")
                entry += list(jpeg[:4])
                entry[4] = sources.crc_of(jpeg, lambda _: None)
            else:
                entry[4] = sources.crc_of(photo, note)

    def _converted(self, current: Set) -> Path:
        return self.sets.directory / f"{current.key}.converted"

    def _send(self, current: Set, source: Source, parts: "List[Part]", info: TokenInfo, at_once: int, control: Control,
              progress: OnProgress) -> None:
        says_missing = "missing_parts" in info.features
        files_json = json.dumps([[entry[0], entry[2]] for entry in current.files], ensure_ascii=False) if current.how == "files" else ""
        last_saved = 0.0

        def create() -> Created:
            created = self.server.create(current.project, current.photos, len(parts), current.size_bytes, current.secret, files_json)
            if created.secret != current.secret or not current.created:
                current.secret, current.created = created.secret, True
                self.sets.save(current)
            return created

        def note_done(done: "set[int]") -> None:
            nonlocal last_saved
            current.done = sorted(done)
            # If the server says what it has, saving every two seconds is enough: the file of a thousand photos is not small.
            if not says_missing or len(done) == len(parts) or time.monotonic() - last_saved > 2:
                last_saved = time.monotonic()
                self.sets.save(current)

        for attempt in range(3):
            sender = Sender(self.server, source, parts, current.done, create=create, project=current.project,
                            secret=lambda: current.secret, is_ours=lambda: current.created, on_done=note_done,
                            features=info.features, at_once=at_once,
                            patience_seconds=self._patience, control=control, progress=progress)
            try:
                sender.run()
            finally:
                self.sets.save(current)
            if not sender.started_before:
                status = self._patiently(lambda: self.server.status(current.project, current.secret), control) if says_missing else None
                if status is not None and status.missing_parts and status.text == CREATED:
                    current.done = sorted(set(current.done) - set(status.missing_parts))
                    continue  # the server lost these parts, e.g. because the project expired and was created again
                if status is not None and status.text == CREATED and status.received_bytes not in (None, current.size_bytes):
                    current.done = []
                    continue
                try:
                    self._patiently(lambda: self.server.start(current.project, current.secret), control, progress=progress)
                except Refused:
                    if attempt == 2 or says_missing:
                        raise
                    current.done = []  # the server does not say which parts are missing: send all of them again
                    continue
            current.state, current.status = STARTED, "initialized"
            self.sets.save(current)
            return
        raise Refused("The server lost parts that it had confirmed. Try again later; if that does not help, tell the server's operator.",
                      200)

    def _give_up(self, current: Set) -> None:
        """Give up an unfinished set, so that its held credit is returned."""
        try:
            self.server.reset(current.project, current.secret)
        except (Passing, Refused):
            pass  # the project expires after a day
        _remove_converted(self.sets, current)
        current.state = GIVEN_UP
        self.sets.save(current)

    # Getting the model ----------------------------------------------------------------------------------------------

    def wait(self, project: str, *, timeout_seconds: Optional[float] = None, every_seconds: float = 10.0, progress: OnProgress = ignore,
             control: Optional[Control] = None) -> Status:
        """Wait until a project's model is done.

        Raises:
            ProcessingFailed: processing failed, or the model has expired; the text is the server's reason.
            TimeoutError: after `timeout_seconds`.
            Canceled, Refused, Unreachable.
        """
        control = control or Control()
        begun, wait = time.monotonic(), min(2.0, every_seconds)
        while True:
            status = self._patiently(lambda: self.server.status(project, self._secret_of(project)), control, progress=progress)
            self._note_status(status)
            progress(Progress("waiting", fraction=status.progress, message=status.message or status.text, project=project))
            if status.is_done:
                return status
            if status.text in (FAILED, EXPIRED):
                raise ProcessingFailed(status.error or (
                    "The model has expired. Send the photos again." if status.text == EXPIRED else
                    "The server could not make a model. Take more photos with more overlap, or ask the server's operator."))
            if timeout_seconds is not None and time.monotonic() - begun + wait > timeout_seconds:
                raise TimeoutError(f"The model of {project} is not ready after {timeout_seconds:.0f} s. The server is still working on it; "
                                   "check later with status.")
            control.sleep(wait)
            wait = min(every_seconds, wait * 1.5)

    def download(self, project: str, out: PathLike = ".", *, unpack: bool = False, progress: OnProgress = ignore,
                 control: Optional[Control] = None) -> Path:
        """Download a model. An interrupted download continues where it stopped.

        Args:
            out: a directory, or the path of the zip to write.
            unpack: unpack the zip into a new folder with its name, and keep only the folder. Existing files are never replaced.

        Returns:
            The zip, or the folder.

        Raises:
            NotPossible: there is no model yet, or the disk is full.
            ProcessingFailed, Canceled, Refused, Unreachable.
        """
        control = control or Control()
        target = Path(out)
        if target.suffix.lower() != ".zip":
            target = target / f"{_file_name(project)}.zip"
        folder = target.with_suffix("")
        if unpack:
            target = target.with_suffix(".openscan-download")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotPossible(f"{target.parent} cannot be written ({error.strerror}). Choose another directory.") from error

        def link() -> str:
            status = self._patiently(lambda: self.server.status(project, self._secret_of(project)), control, progress=progress)
            if status.is_done:
                return status.download_link
            if status.text in (FAILED, EXPIRED):
                raise ProcessingFailed(status.error or f"There is no model to download: {status.text}.")
            raise NotPossible(f"The model is not ready yet ({status.text or status.message}). Try again later, or use --wait.")

        downloading.fetch(self.server, link, target, patience_seconds=self._patience, control=control, progress=progress, project=project)
        if unpack:
            folder = downloading.unpack(target, folder)
            target.unlink()
            target = folder
        known = self.sets.of_project(self.token, project)
        if known is not None:
            known.model, known.status = str(target.absolute()), DONE
            self.sets.save(known)
        return target

    def past(self) -> "List[Set]":
        """The sets that this computer sent with this token, newest first, with their last known status."""
        mark = _token_mark(self.token)
        return [each for each in self.sets.all() if each.token_mark == mark]

    def earlier(self, source: PathLike) -> "List[Set]":
        """Earlier sets from this folder or zip, newest first."""
        return self.sets.of_source(self.token, os.path.abspath(os.fspath(source)))

    # Helpers --------------------------------------------------------------------------------------------------------

    def _secret_of(self, project: str) -> str:
        known = self.sets.of_project(self.token, project)
        return known.secret if known is not None else ""

    def _note_status(self, status: Status) -> None:
        known = self.sets.of_project(self.token, status.project)
        if known is not None and known.status != status.text:
            known.status = status.text
            self.sets.save(known)

    def _patiently(self, ask: "Callable[[], T]", control: Control, progress: OnProgress = ignore, tries: int = 0) -> T:
        """Ask until there is an answer: `tries` times, or as long as `patience_seconds` allows if that is 0."""
        begun, failures = time.monotonic(), 0
        while True:
            try:
                return ask()
            except Passing as problem:
                failures += 1
                if failures == tries or time.monotonic() - begun > self._patience:
                    raise unreachable(problem) from None
                progress(Progress("connecting", message=f"{problem} Trying again."))
                control.sleep(wait_seconds(failures, problem.wait_seconds))


@dataclass(frozen=True)
class _Made:
    """A source as it was found on disk."""

    origin: str
    how: str
    photos: int
    size_bytes: int
    found: Found
    archive: Optional[Photo] = None

    def entries(self) -> "List[List[Any]]":
        """The files as a set remembers them."""
        files = [self.archive] if self.archive is not None else self.found.photos + self.found.texts
        return [[photo.name, os.path.abspath(photo.path), photo.size_bytes, photo.modified_ns, None] for photo in files]


def _look_at(source: "Union[PathLike, Iterable[PathLike]]") -> _Made:
    if isinstance(source, (str, os.PathLike)):
        path = os.path.abspath(os.fspath(source))
        if os.path.isfile(path) and _is_zip(path):
            packed, photos = sources.existing_zip(path)
            about = os.stat(path)
            return _Made(path, "archive", max(1, photos), packed.size_bytes, Found(),
                         Photo(os.path.basename(path), path, about.st_size, about.st_mtime_ns, "zip"))
        found = collect(path)
        return _Made(path, "zip", len(found.photos), found.size_bytes, found)
    listed = [os.path.abspath(os.fspath(path)) for path in source]
    if not listed:
        raise NotPossible("There are no files to send. Choose photos, a folder or a zip.")
    if len(listed) == 1:
        return _look_at(listed[0])
    found = collect(listed)
    return _Made(listed[0], "zip", len(found.photos), found.size_bytes, found)


def _is_zip(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _source_of(current: Set) -> "tuple[Source, List[Part]]":
    """A set's bytes and parts. They are the same every time."""
    if current.how == "archive":
        _, path, size_bytes, modified_ns, _ = current.files[0]
        source = Source([sources.File(path, size_bytes, modified_ns)])
        return source, source.parts_of(current.part_bytes)
    if current.how == "files":
        source = sources.bare_photos([Photo(name, path, count_bytes, modified_ns, "")
                                      for name, path, count_bytes, modified_ns, _ in current.files])
        return source, source.part_per_piece()
    photos, crcs = [], {}
    for entry in current.files:
        name, path, size_bytes, modified_ns = entry[5:] if len(entry) > 5 else entry[:4]
        photos.append(Photo(name, path, size_bytes, modified_ns, ""))
        crcs[name] = entry[4]
    source = sources.stored_zip(photos, crcs)
    return source, source.parts_of(current.part_bytes)


def _check_limits(info: TokenInfo, photos: int, size_bytes: int) -> None:
    """Raise NotPossible if the token does not allow such a set, before anything is sent."""
    if photos > info.limit_photos:
        raise NotPossible(f"The set has {count(photos, 'photo')}, but this token allows {info.limit_photos:,}. Leave some out.")
    if size_bytes > info.limit_filesize:
        raise NotPossible(f"The set has {size(size_bytes)}, but this token allows {size(info.limit_filesize)} per set. Send fewer or "
                          "smaller photos.")
    if size_bytes > info.credit:
        raise NotPossible(f"The set has {size(size_bytes)}, but this token has {size(info.credit)} of credit left. Send a smaller set, or "
                          "ask the server's operator for more credit.")


def _project_name(origin: str, rich: bool) -> str:
    """The folder's name and the time. The original server gets plain ASCII letters only."""
    name = Path(origin).stem if os.path.isfile(origin) else Path(origin).name
    if os.path.isfile(origin) and not _is_zip(origin):
        name = Path(origin).parent.name
    now = datetime.datetime.now()
    if rich:
        shown = "".join(character if character.isprintable() else "_" for character in unicodedata.normalize("NFC", name)
                        ).encode("utf-8", "replace").decode()
        return f"{shown[:_LONGEST_NAME - 40].strip() or 'photos'} {now:%Y-%m-%d %H.%M.%S}"
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()).strip("-")
    return f"{plain[:60] or 'photos'}-{int(time.time() * 1000)}.zip"


def _jpeg_name(name: str, taken: "set[str]") -> str:
    """A converted photo's name, different from all names that are taken."""
    stem = os.path.splitext(name)[0]
    made = f"{stem}.jpg"
    while made in taken:
        stem += "_"
        made = f"{stem}.jpg"
    taken.add(made)
    return made


def _file_name(project: str) -> str:
    """A project's name as a file name that every system allows."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", project[:-4] if project.lower().endswith(".zip") else project).strip(" .")
    return name[:150] or "model"


def _remove_converted(sets: Sets, current: Set) -> None:
    shutil.rmtree(str(sets.directory / f"{current.key}.converted"), ignore_errors=True)
