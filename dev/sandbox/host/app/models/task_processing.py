"""How a worker takes a task through a processing node, one step a call.

The steps, the errors that fail a task and those that only postpone it are WebODM 3.2.4's. An exception that is named
nowhere here leaves ``process`` and is logged by the job around it, and the task is tried again five seconds later.
"""
import json
import logging
import os
import shutil
import time
import zipfile
import zlib
from typing import Callable

import requests
from django.core.exceptions import SuspiciousFileOperation
from nodeodm import status_codes
from nodeodm.models import ProcessingNode
from PIL import Image
from pyodm.exceptions import NodeConnectionError, NodeResponseError, NodeServerError, OdmError
from urllib3.exceptions import ReadTimeoutError
from webodm import settings

from app import pending_actions
from app.security import path_traversal_check

logger = logging.getLogger("app.logger")

PROGRESS_SECONDS = 2
DOWNLOAD_RETRIES = 5
COMPACT_SECONDS = 2


class TaskInterruptedException(Exception):
    """The owner wants something else in the middle of an upload."""


class TaskProcessing:
    """Mixed into Task."""

    # Processing takes this share of the whole, downloading the next tenth, unpacking the rest.
    TASK_PROGRESS_LAST_VALUE = 0.85

    def process(self) -> None:
        """Does what is to do next: import, resize, find a node, upload, act on a wish of the owner, ask for the state."""
        try:
            if self.pending_action == pending_actions.IMPORT:
                self.handle_import()
            if self.pending_action == pending_actions.RESIZE:
                self._resize_images()
            if self.auto_processing_node and self.status not in (status_codes.FAILED, status_codes.CANCELED):
                self._find_node()
            if self.processing_node and not self.uuid and self.pending_action is None and self.status is None:
                self._send_to_node()
            if self.pending_action is not None and self._act():
                return
            if self.processing_node and self.uuid and self.status in (
                None,
                status_codes.QUEUED,
                status_codes.RUNNING,
            ):
                self._ask_node()
        except (NodeServerError, NodeResponseError) as error:
            self.set_failure(str(error))
        except NodeConnectionError as error:
            logger.warning("%s: no connection, next try at the next tick: %s", self, error)
        except TaskInterruptedException:
            logger.warning("%s was interrupted", self)

    def set_failure(self, error_message: str) -> None:
        """Marks the task failed. No signal is sent for this kind of failure."""
        logger.error("%s failed: %s", self, error_message)
        self.last_error = error_message
        self.status = status_codes.FAILED
        self.pending_action = None
        self.save()

    def check_if_canceled(self) -> None:
        """Raises TaskInterruptedException when the owner asked to cancel, remove or compact meanwhile."""
        wish = type(self).objects.values_list("pending_action", flat=True).get(pk=self.pk)
        if wish in (pending_actions.CANCEL, pending_actions.REMOVE, pending_actions.COMPACT):
            raise TaskInterruptedException()

    def _set_fields(self, **values) -> None:
        """Writes single columns, so that nothing the owner changed meanwhile is overwritten."""
        type(self).objects.filter(pk=self.pk).update(**values)

    # Finding a node and sending the images

    def _find_node(self) -> None:
        if self.processing_node is None:
            self.processing_node = ProcessingNode.find_best_available_node(self.project.owner)
            if self.processing_node:
                self.processing_node.queue_count += 1
                self.processing_node.save()
                logger.info("%s goes to node %s", self, self.processing_node)
                self.save()
        if self.processing_node and not self.processing_node.is_online():
            if self.status == status_codes.QUEUED:
                self.uuid = ""
                self.processing_node = None
                self.status = None
                self.save()
            elif self.status == status_codes.RUNNING:
                raise NodeServerError("Processing node went offline: out of memory, or a network error.")

    def _send_to_node(self) -> None:
        images = [self.task_path(name) for name in self.scan_images()]
        try:
            uuid = self.processing_node.process_new_task(images, self.name, self.options, self._upload_reporter())
        except NodeConnectionError as error:
            raise NodeServerError(f"Connection error: {error}") from error
        self.refresh_from_db()
        self.upload_progress = 1.0
        self.uuid = uuid
        self.save()

    def _upload_reporter(self) -> Callable[[float], None]:
        last = 0.0

        def report(percent: float) -> None:
            nonlocal last
            if time.time() - last >= PROGRESS_SECONDS:
                self.check_if_canceled()
                self._set_fields(upload_progress=percent / 100.0)
                last = time.time()

        return report

    def _resize_images(self) -> None:
        """Shrinks JPEG images to ``resize_to`` pixels on the longer side, Exif kept."""
        for name in self.scan_images():
            if self.resize_to > 0 and name.lower().endswith((".jpg", ".jpeg")):
                path = self.task_path(name)
                with Image.open(path) as image:
                    if max(image.size) <= self.resize_to:
                        continue
                    exif = image.info.get("exif", b"")
                    image.thumbnail((self.resize_to, self.resize_to), Image.LANCZOS)
                    smaller = self.task_path(f"{name}.resized.jpg")
                    image.save(smaller, quality=100, exif=exif)
                # In place of the old one, not into it: an image may be a hard link to another task's.
                os.replace(smaller, path)
        self._set_fields(resize_progress=1.0)
        self.refresh_from_db()
        self.pending_action = None
        self.save()

    # What the owner asked for

    def _act(self) -> bool:
        """Performs the pending action. True when nothing else is to do in this step."""
        if self.pending_action == pending_actions.CANCEL:
            self._cancel()
        elif self.pending_action == pending_actions.RESTART:
            self._restart()
        elif self.pending_action == pending_actions.REMOVE:
            self._remove()
            return True
        elif self.pending_action == pending_actions.COMPACT:
            time.sleep(COMPACT_SECONDS)
            self.compact()
            self.pending_action = None
            self.save()
            return True
        return False

    def _cancel(self) -> None:
        if self.processing_node and self.uuid:
            try:
                self.processing_node.cancel_task(self.uuid)
            except OdmError as error:
                logger.warning("%s: the node does not cancel it (%s); canceled here all the same", self, error)
        self.status = status_codes.CANCELED
        self.pending_action = None
        self.save()

    def _restart(self) -> None:
        if not self.processing_node:
            raise NodeServerError("Cannot restart a task that has no processing node")
        if not self._restart_on_node():
            # The node has forgotten it: without its id there the task is sent anew at the next step.
            self.uuid = ""
            self.options = [option for option in self.options if option["name"] != "rerun-from"]
            self.upload_progress = 0
        self.console.reset()
        self.processing_time = -1
        self.status = None
        self.last_error = None
        self.pending_action = None
        self.running_progress = 0
        self.save()

    def _restart_on_node(self) -> bool:
        if not self.uuid:
            return False
        try:
            if self.processing_node.get_task_info(self.uuid).uuid != self.uuid:
                return False
        except OdmError:
            return False
        try:
            self.processing_node.restart_task(self.uuid, self.options)
        except (NodeServerError, NodeResponseError) as error:
            logger.warning("%s: the node does not restart it (%s); it is sent anew", self, error)
            return False
        return True

    def _remove(self) -> None:
        if self.processing_node and self.uuid:
            try:
                self.processing_node.remove_task(self.uuid)
            except OdmError as error:
                logger.warning("%s: the node does not remove it: %s", self, error)
        self.delete()

    # The node's answer and the results

    def _ask_node(self) -> None:
        known = self.console.output()
        info = self.processing_node.get_task_info(self.uuid, len(known.split("\n")) if known else 0)
        self.processing_time = info.processing_time
        self.status = info.status.value
        if info.output:
            self.console += "\n".join(info.output) + "\n"
        self.running_progress = (info.progress / 100.0) * self.TASK_PROGRESS_LAST_VALUE
        if info.last_error != "":
            self.last_error = info.last_error
        if self.status == status_codes.COMPLETED:
            self._fetch_results()
            return
        self.save()
        if self.status == status_codes.FAILED:
            from app.plugins import signals as plugin_signals

            plugin_signals.task_failed.send_robust(sender=type(self), task_id=self.id)

    def _fetch_results(self) -> None:
        assets = self.assets_path("")
        if os.path.exists(assets):
            shutil.rmtree(assets)
        os.makedirs(assets)
        for attempt in range(DOWNLOAD_RETRIES + 1):
            path = self.processing_node.download_task_assets(
                self.uuid,
                assets,
                progress_callback=self._download_reporter(),
                parallel_downloads=max(1, 16 // 2**attempt),
            )
            os.rename(path, self.assets_path("all.zip"))
            try:
                self.extract_assets_and_complete()
                return
            except zipfile.BadZipFile:
                logger.warning("%s: all.zip is damaged, attempt %d", self, attempt + 1)
                os.remove(self.assets_path("all.zip"))
        raise NodeServerError("Invalid zip file")

    def _download_reporter(self) -> Callable[[float], None]:
        last = 0.0

        def report(percent: float) -> None:
            nonlocal last
            if time.time() - last >= PROGRESS_SECONDS or int(percent) == 100:
                self._set_fields(running_progress=self.TASK_PROGRESS_LAST_VALUE + percent / 1000.0)
                last = time.time()

        return report

    def extract_assets_and_complete(self) -> None:
        """Unpacks ``all.zip``, looks what there is, and completes the task; sends ``task_completed``.

        Raises BadZipFile on a damaged archive, NodeServerError when there is none.
        """
        archive = self.assets_path("all.zip")
        if os.path.isfile(archive):
            try:
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(self.assets_path(""))
            except zlib.error as error:
                raise zipfile.BadZipFile(str(error)) from error
            os.remove(archive)
            self._lift_single_directory()
        elif self.import_url != "file://external":
            raise NodeServerError("Cannot import task")
        self.update_available_assets_field()
        self.update_size()
        self.potree_scene = {}
        self.running_progress = 1.0
        self.status = status_codes.COMPLETED
        self.console += "Done!\n"
        log = self.assets_path("task_output.txt")
        if os.path.isfile(log):
            self.console.link(log)
        self.save()
        from app.plugins import signals as plugin_signals

        plugin_signals.task_completed.send_robust(sender=type(self), task_id=self.id)

    def _lift_single_directory(self) -> None:
        """Archives of other makers have everything in one directory; what is in it is moved up."""
        entries = os.listdir(self.assets_path(""))
        if len(entries) != 1 or entries[0].endswith("odm_orthophoto"):
            return
        top = self.assets_path(entries[0])
        if os.path.isdir(top) and os.listdir(top):
            for name in os.listdir(top):
                shutil.move(os.path.join(top, name), self.assets_path(""))
            shutil.rmtree(top)

    # Import of finished results

    def handle_import(self) -> None:
        """Fetches an archive of results from ``import_url`` and completes the task with it.

        Raises NodeServerError when the archive cannot be had or read. Schemes that requests does not know raise its
        InvalidSchema, which nobody catches: the task is tried again at every poll.
        """
        os.makedirs(self.assets_path(""), exist_ok=True)
        self.console += "Importing assets...\n"
        self.save()
        archive = self.assets_path("all.zip")
        if self.import_url and not os.path.exists(archive):
            if self.import_url.startswith("file://"):
                self._copy_import(archive)
            else:
                self._download_import(archive)
        self.refresh_from_db()
        try:
            self.extract_assets_and_complete()
        except (zipfile.BadZipFile, FileNotFoundError) as error:
            raise NodeServerError("Invalid zip file") from error
        except NotImplementedError as error:
            raise NodeServerError("Unsupported compression method") from error
        images = self.assets_path("images.json")
        if os.path.isfile(images):
            with open(images, encoding="utf-8") as stream:
                self.images_count = len(json.load(stream))
        self.pending_action = None
        self.save()

    def _copy_import(self, archive: str) -> None:
        if self.import_url == "file://external":
            return
        imports = os.path.join(settings.MEDIA_ROOT, "imports")
        try:
            path = path_traversal_check(os.path.join(imports, self.import_url[len("file://") :]), imports)
        except SuspiciousFileOperation as error:
            raise NodeServerError(error) from error
        if os.path.isfile(path):
            shutil.copyfile(path, archive)

    def _download_import(self, archive: str) -> None:
        try:
            response = requests.get(self.import_url, stream=True, timeout=10)
            length = response.headers.get("content-length")
            done, last = 0, 0.0
            with open(archive, "wb") as out:
                for chunk in response.iter_content(1 << 16):
                    out.write(chunk)
                    done += len(chunk)
                    if time.time() - last >= PROGRESS_SECONDS:
                        if length:
                            self._set_fields(running_progress=done / int(length) * 0.9)
                        self.check_if_canceled()
                        last = time.time()
        except (
            requests.exceptions.Timeout,
            requests.exceptions.ConnectionError,
            requests.exceptions.MissingSchema,
            ReadTimeoutError,
        ) as error:
            raise NodeServerError(error) from error
