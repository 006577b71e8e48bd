"""The node's queue: accepts tasks, runs the engine for them in turn, and continues after a kill where it left off."""
import asyncio
import contextlib
import json
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from .archives import ArchiveError
from .console import Console
from .disk import Disk, DiskFullError
from .engine import EngineError, EngineInfo, EngineRun, end_left_over_group, process_start_time
from .intake import IntakeError, ground_options, take_in
from .jobs import Job, Settings, TaskStateError, UnknownTaskError, error_sentence
from .options import filter_options
from .results import ARCHIVE_NAME, NoResultError, PackingCanceled, pack_results, parse_outputs
from .tasks import Status, Task, TaskStore, now_ms, parse_date_created
from .threads import in_thread
from .uploads import Upload, Uploads
from .webhook import call_webhook

logger = logging.getLogger(__name__)

# The engine's part of the progress; the rest is packing, as in NodeODM.
ENGINE_SHARE = 0.9
PACKING_PROGRESS = 93.0
SAVE_PROGRESS_SECONDS = 10.0
HOUSEKEEPING_SECONDS = 600.0
# As in NodeODM, these are switched on for every task if the engine offers them, unless the client wants no post-processing.
POST_PROCESSING_OPTIONS = ("pc-ept", "cog", "gltf")


class TaskManager:
    """All tasks of a node. Methods run on the event loop's thread."""

    def __init__(
        self, data: Path, store: TaskStore, uploads: Uploads, disk: Disk,
        command: Sequence[str], engine: EngineInfo, settings: Settings,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self._directory = data / "tasks"
        self._store = store
        self._uploads = uploads
        self._disk = disk
        self._command = list(command)
        self._tasks: dict[str, Task] = {}
        self._jobs: dict[str, Job] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._stopping = False

    # Starting and ending

    async def start(self) -> None:
        """Load the tasks, end engines that an earlier node left behind, and continue with the tasks that were queued or running."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._tasks = {task.uuid: task for task in self._store.all()}
        for path in self._directory.iterdir():
            if path.name not in self._tasks:
                logger.info("removing %s, which belongs to no task", path.name)
                await in_thread(shutil.rmtree, path, True)
        for task in list(self._tasks.values()):
            await self._end_left_over_engine(task)
            if task.status == Status.RUNNING and task.ready:
                task.status, task.date_started, task.progress = Status.QUEUED, 0, 0.0
                self._say(task, "The processing node was restarted. The task continues.")
                self._save(task)
            elif task.status == Status.RUNNING:
                self._begin(task, self._prepare)
        self._spawn(self._keep_house())
        self._process_next()

    async def stop(self) -> None:
        """Stop all engines. Tasks that were running continue when the node starts again."""
        self._stopping = True
        for job in list(self._jobs.values()):
            if job.work is not None and not job.canceled:
                job.work.cancel()
        for background in list(self._background):
            background.cancel()
        await asyncio.gather(*(job.work for job in self._jobs.values() if job.work), *self._background, return_exceptions=True)
        self._store.close()

    # Requests of clients

    def create(self, uuid: str, body: dict[str, Any], upload: Upload) -> Task:
        """Make a task from an upload (or from the zip address in the form's fields) and begin to take in its files.

        Raises OptionsError; TaskStateError when the id is taken; sqlite3.Error when the task cannot be saved.
        """
        if uuid in self._tasks:
            # Two requests chose the same id and finished at the same time.
            raise TaskStateError(f"There is already a task {uuid}")
        name = str(body.get("name") or "").strip()
        skip = str(body.get("skipPostProcessing", "")).lower() == "true"
        task = Task(
            uuid=uuid,
            name=name or time.strftime("Task of %Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            options=self._complete_options(body.get("options"), skip),
            zipurl=str(body.get("zipurl") or ""),
            outputs=parse_outputs(body.get("outputs")),
            webhook=str(body.get("webhook") or ""),
            skip_post_processing=skip,
            date_created=parse_date_created(body.get("dateCreated")),
            images_count=upload.count(),
            turn=self._next_turn(),
        )
        self._store.save(task)
        self._tasks[uuid] = task
        upload.close()
        self._begin(task, self._prepare)
        return task

    def check_options(self, options: Any) -> list[dict[str, Any]]:
        """The options as the engine takes them. Raises OptionsError."""
        return filter_options(options, self.engine.options)

    def find(self, uuid: str) -> Task:
        """Raises UnknownTaskError."""
        try:
            return self._tasks[uuid]
        except KeyError:
            raise UnknownTaskError(f"{uuid} not found") from None

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._tasks

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._tasks.values()))

    def queue_count(self) -> int:
        """How many tasks wait or run."""
        return sum(1 for task in self._tasks.values() if not task.finished)

    def console(self, task: Task) -> Console:
        return Console(self._project(task) / "task_output.txt")

    def archive(self, task: Task) -> Path:
        """Where the task's results are, once it is completed."""
        return self._project(task) / ARCHIVE_NAME

    async def cancel(self, uuid: str) -> None:
        """Stop a task; when this returns, nothing works on it any more. A canceled task stays as it is. Raises UnknownTaskError."""
        task = self.find(uuid)
        if task.status != Status.CANCELED:
            task.status, task.error = Status.CANCELED, ""
            task.date_started = task.date_finished = 0
            self._save(task)
        await self._end_job(task)
        self._process_next()

    async def remove(self, uuid: str) -> None:
        """Cancel a task and delete it with all its files. Raises UnknownTaskError, OSError, sqlite3.Error."""
        await self.cancel(uuid)
        task = self._tasks.pop(uuid, None)
        if task is None:
            # Another request has removed it meanwhile.
            return
        self._store.delete(uuid)
        await in_thread(shutil.rmtree, self._project(task), True)
        await in_thread(self._uploads.get(uuid).remove)

    async def restart(self, uuid: str, options: Any = None) -> None:
        """Put a finished task back into the queue, with other options when some are given.

        Raises UnknownTaskError, OptionsError, and TaskStateError when the task waits or runs.
        """
        task = self.find(uuid)
        if task.finished:
            # A canceled engine may take a moment to end.
            await self._end_job(task)
        if not task.finished:
            raise TaskStateError("Task cannot be restarted: it has not ended")
        if options not in (None, ""):
            task.options = self._complete_options(options, task.skip_post_processing)
        task.status = Status.QUEUED if task.ready else Status.RUNNING
        task.error, task.progress, task.begun = "", 0.0, False
        task.date_created, task.date_started, task.date_finished = now_ms(), 0, 0
        task.turn = self._next_turn()
        self.console(task).clear()
        self.archive(task).unlink(missing_ok=True)
        self._save(task)
        if not task.ready:
            self._begin(task, self._prepare)
        self._process_next()

    # How tasks move

    def _process_next(self) -> None:
        if self._stopping:
            return
        waiting = sorted(
            (task for task in self._tasks.values() if task.status == Status.QUEUED and task.uuid not in self._jobs),
            key=lambda task: task.turn,
        )
        running = sum(1 for job in self._jobs.values() if job.run is not None)
        for task in waiting[: max(0, self.settings.parallel - running)]:
            self._begin(task, self._process, self._engine_run(task))

    def _begin(self, task: Task, what: Any, run: Optional[EngineRun] = None) -> None:
        job = Job(run=run)
        self._jobs[task.uuid] = job
        job.work = asyncio.ensure_future(self._work(task, job, what))
        # Not at the end of the work itself: work that is cancelled before its first step has no end.
        job.work.add_done_callback(lambda _: self._job_ended(task))

    def _job_ended(self, task: Task) -> None:
        del self._jobs[task.uuid]
        if not self._stopping:
            if task.finished and task.uuid in self._tasks:
                self._notify(task)
            self._process_next()

    async def _work(self, task: Task, job: Job, what: Any) -> None:
        """Run one job from start to end; whatever goes wrong in it becomes the task's error."""
        try:
            await what(task, job)
        except asyncio.CancelledError:
            # Only cancel() and stop() cancel jobs, and they do the rest.
            pass
        except (IntakeError, ArchiveError, EngineError, NoResultError, DiskFullError, OSError) as error:
            self._fail(task, job, error_sentence(error))
        except Exception as error:
            logger.exception("task %s failed unexpectedly", task.uuid)
            self._fail(task, job, f"The processing node failed: {type(error).__name__}: {error}")

    async def _prepare(self, task: Task, job: Job) -> None:
        """Take in the files and queue the task."""
        upload = self._uploads.get(task.uuid)
        task.images_count = await take_in(task, upload, self._project(task), self.settings.max_images, self._disk)
        if not job.canceled:
            task.ready, task.status = True, Status.QUEUED
            self._save(task)

    async def _process(self, task: Task, job: Job) -> None:
        """Run the engine and pack its results."""
        task.status, task.date_started, task.date_finished = Status.RUNNING, now_ms(), 0
        self._save(task)
        assert job.run is not None
        self._disk.check_room()
        self._write_options(task)
        try:
            task.engine_pid = await job.run.start()
            task.engine_started = process_start_time(task.engine_pid)
            self._save(task)
            outcome = await asyncio.wait_for(job.run.wait(), self.settings.max_runtime or None)
        except asyncio.TimeoutError:
            self._fail(task, job, f"Processing took more than {self.settings.max_runtime / 60:.0f} minutes and was stopped.")
            return
        finally:
            task.engine_pid = task.engine_started = 0
        if job.canceled:
            return
        if not outcome.ok:
            self._fail(task, job, outcome.error)
            return
        self._raise_progress(task, job, PACKING_PROGRESS)
        self._say(task, f"Compressing {ARCHIVE_NAME}")
        with contextlib.suppress(PackingCanceled):
            await in_thread(pack_results, self._project(task), task.outputs, lambda: job.canceled or self._stopping)
        if not job.canceled and not self._stopping:
            task.status, task.progress, task.date_finished = Status.COMPLETED, 100.0, now_ms()
            self._save(task)

    async def _end_job(self, task: Task) -> None:
        job = self._jobs.get(task.uuid)
        if job is None or job.work is None:
            return
        if not job.canceled:  # a second cancel would interrupt the work that ends the engine
            job.canceled = True
            job.work.cancel()
        await asyncio.wait({job.work})

    def _fail(self, task: Task, job: Job, error: str) -> None:
        if job.canceled or self._stopping:
            return
        task.status, task.error, task.date_finished = Status.FAILED, error, now_ms()
        if task.date_started:
            task.progress = 100.0
        self._say(task, error)
        self._save(task)

    # Small parts

    def _engine_run(self, task: Task) -> EngineRun:
        project = self._project(task)
        return EngineRun(
            self._command, images=project / "images", out=project, options=project / "options.json",
            on_line=lambda line: self.console(task).write(line),
            on_progress=lambda progress: self._take_progress(task, self._jobs[task.uuid], progress),
        )

    def _write_options(self, task: Task) -> None:
        """Write the options file. An interrupted run continues after its last finished stage, so ``rerun-from`` is not passed again."""
        options = [option for option in task.options if not (task.begun and option["name"] == "rerun-from")]
        options += ground_options(self._project(task))
        path = self._project(task) / "options.json"
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(options), encoding="utf-8")
        os.replace(unfinished, path)

    def _take_progress(self, task: Task, job: Job, progress: float) -> None:
        if not task.begun:
            task.begun = True
            self._save(task)
        self._raise_progress(task, job, progress * ENGINE_SHARE)

    def _raise_progress(self, task: Task, job: Job, progress: float) -> None:
        if progress > task.progress and not job.canceled:
            task.progress = progress
            if time.monotonic() - job.saved_at > SAVE_PROGRESS_SECONDS:
                job.saved_at = time.monotonic()
                self._save(task)

    def _complete_options(self, requested: Any, skip_post_processing: bool) -> list[dict[str, Any]]:
        options = self.check_options(requested)
        if not skip_post_processing:
            chosen = {option["name"] for option in options}
            offered = {option["name"] for option in self.engine.options}
            options += [{"name": name, "value": True} for name in POST_PROCESSING_OPTIONS if name in offered - chosen]
        return options

    def _next_turn(self) -> int:
        return max((task.turn for task in self._tasks.values()), default=0) + 1

    def _project(self, task: Task) -> Path:
        return self._directory / task.uuid

    def _say(self, task: Task, text: str) -> None:
        """Write to the task's console. Errors are only logged, so that a task on a full disk still fails with the right message."""
        try:
            self._project(task).mkdir(exist_ok=True)
            self.console(task).write(text)
        except OSError as error:
            logger.warning("cannot write the console of task %s: %s", task.uuid, error.strerror)

    def _save(self, task: Task) -> None:
        """Save the task's state. If the disk is full, the task continues in memory and its state is saved with the next change."""
        if task.uuid not in self._tasks:
            return
        try:
            self._store.save(task)
        except sqlite3.Error as error:
            logger.error("cannot save task %s: %s", task.uuid, error)

    def _notify(self, task: Task) -> None:
        for url in filter(None, (task.webhook, self.settings.webhook)):
            self._spawn(call_webhook(url, task, self._project(task)))

    def _spawn(self, work: Any) -> None:
        background = asyncio.ensure_future(work)
        self._background.add(background)
        background.add_done_callback(self._background.discard)

    @staticmethod
    async def _end_left_over_engine(task: Task) -> None:
        if end_left_over_group(task.engine_pid, task.engine_started):
            logger.info("ending the engine that was left behind for task %s", task.uuid)
            while process_start_time(task.engine_pid) == task.engine_started:
                await asyncio.sleep(0.05)
        task.engine_pid = task.engine_started = 0

    async def _keep_house(self) -> None:
        """Remove tasks that ended long ago, and uploads that nobody has continued for a long time."""
        while True:
            try:
                await self._remove_old()
            except (OSError, sqlite3.Error, UnknownTaskError) as error:
                logger.error("cannot remove old tasks: %s", error)
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def _remove_old(self) -> None:
        for task in self:
            ended = task.date_finished or task.date_created
            if task.finished and now_ms() - ended > self.settings.keep_tasks * 1000:
                logger.info("removing task %s, which ended long ago", task.uuid)
                await self.remove(task.uuid)
        for uuid in await in_thread(self._uploads.remove_stale, self.settings.keep_uploads, set(self._tasks)):
            logger.info("removed the unfinished upload %s", uuid)
