"""A processing node and what is asked of it, through the real pyodm."""
import logging
from datetime import timedelta
from typing import Callable, Optional

from django.contrib.postgres.fields import JSONField
from django.db import models
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils import timezone
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase
from guardian.shortcuts import get_objects_for_user
from pyodm import Node, exceptions
from pyodm.types import TaskInfo
from webodm import settings

logger = logging.getLogger("app.logger")

POLL_TIMEOUT_SECONDS = 5
CALL_TIMEOUT_SECONDS = 30


class ProcessingNode(models.Model):
    """A NodeODM-speaking server; ``available_options`` is what its ``/options`` answered last."""

    hostname = models.CharField(max_length=255)
    port = models.PositiveIntegerField()
    api_version = models.CharField(max_length=32, null=True)
    last_refreshed = models.DateTimeField(null=True)
    queue_count = models.PositiveIntegerField(default=0)
    available_options = JSONField(default=dict)
    token = models.CharField(max_length=1024, blank=True, default="")
    max_images = models.PositiveIntegerField(blank=True, null=True)
    engine_version = models.CharField(max_length=32, null=True)
    label = models.CharField(max_length=255, default="", blank=True)
    engine = models.CharField(max_length=255, null=True)

    class Meta:
        verbose_name = "Processing Node"
        verbose_name_plural = "Processing Nodes"

    def __str__(self):
        return self.label or f"{self.hostname}:{self.port}"

    @staticmethod
    def find_best_available_node(user=None) -> Optional["ProcessingNode"]:
        """The online node with the shortest queue that ``user`` may view by an object permission; any node without a user."""
        if user is None:
            nodes = ProcessingNode.objects.all()
        else:
            nodes = get_objects_for_user(user, "view_processingnode", ProcessingNode, accept_global_perms=False)
        if not settings.NODE_OPTIMISTIC_MODE:
            nodes = nodes.filter(last_refreshed__gte=_online_since())
        return nodes.order_by("queue_count").first()

    def is_online(self) -> bool:
        """Whether the node answered within the last ``NODE_OFFLINE_MINUTES``."""
        if settings.NODE_OPTIMISTIC_MODE:
            return True
        return self.last_refreshed is not None and self.last_refreshed >= _online_since()

    def update_node_info(self) -> bool:
        """Asks the node for its info and options and saves them. False when it did not answer."""
        client = self.api_client(timeout=POLL_TIMEOUT_SECONDS)
        try:
            info = client.info()
            options = [dict(vars(option)) for option in client.options()]
        except exceptions.OdmError:
            return False
        self.api_version = info.version
        self.queue_count = info.task_queue_count
        self.max_images = max(0, info.max_images) if isinstance(info.max_images, (int, float)) else None
        self.engine_version = info.engine_version
        self.engine = info.engine
        self.available_options = options
        self.last_refreshed = timezone.now()
        self.save()
        return True

    def api_client(self, timeout: int = CALL_TIMEOUT_SECONDS) -> Node:
        """A pyodm client; ``timeout`` in seconds."""
        return Node(self.hostname, self.port, self.token, timeout)

    @staticmethod
    def options_list_to_dict(options=None) -> dict:
        """WebODM keeps options as a list of names and values, pyodm wants a dictionary."""
        return {option["name"]: option["value"] for option in options or []}

    def process_new_task(
        self, images: list[str], name: Optional[str] = None, options=None, progress_callback: Optional[Callable] = None
    ) -> str:
        """Uploads files and starts their processing. Returns the node's id of the task.

        Raises pyodm's OdmError family; NodeServerError when there is no file at all.
        """
        if not images:
            raise exceptions.NodeServerError("Need at least 1 file")
        client = self.api_client()
        return client.create_task(images, self.options_list_to_dict(options), name, progress_callback).uuid

    def get_task_info(self, uuid: str, with_output: Optional[int] = None) -> TaskInfo:
        """The node's state of a task; ``with_output`` asks for console lines from that line on."""
        return self._task(uuid).info(with_output)

    def get_task_console_output(self, uuid: str, line: int) -> list[str]:
        """Console lines from ``line`` on."""
        return self._task(uuid).output(line)

    def cancel_task(self, uuid: str) -> bool:
        """Stops a task, or keeps it from starting."""
        return self._task(uuid).cancel()

    def remove_task(self, uuid: str) -> bool:
        """Removes a task and its files from the node."""
        return self._task(uuid).remove()

    def restart_task(self, uuid: str, options=None) -> bool:
        """Starts a canceled or failed task again, with the options given."""
        return self._task(uuid).restart(self.options_list_to_dict(options))

    def download_task_assets(
        self, uuid: str, destination: str, progress_callback: Callable, parallel_downloads: int = 16
    ) -> str:
        """Downloads ``all.zip`` into a directory and returns its path."""
        return self._task(uuid).download_zip(destination, progress_callback, parallel_downloads=parallel_downloads)

    def _task(self, uuid: str):
        return self.api_client().get_task(uuid)

    def delete(self, using=None, keep_parents=False):
        """Deletes the node's row and sends ``processing_node_removed``."""
        node_id = self.id
        result = super().delete(using, keep_parents)
        from app.plugins import signals as plugin_signals

        plugin_signals.processing_node_removed.send_robust(sender=type(self), processing_node_id=node_id)
        return result


def _online_since():
    return timezone.now() - timedelta(minutes=settings.NODE_OFFLINE_MINUTES)


@receiver(post_save, sender=ProcessingNode, dispatch_uid="update_processing_node_info")
def auto_update_node_info(sender, instance, created, **kwargs):
    """Asks a node for its state as soon as it is added."""
    if created:
        try:
            instance.update_node_info()
        except Exception as error:  # noqa: BLE001 (a node that answers nonsense must not keep its row from being saved)
            logger.warning("Cannot ask node %s for its state: %s", instance, error)


class ProcessingNodeUserObjectPermission(UserObjectPermissionBase):
    """Which user may see which node."""

    content_object = models.ForeignKey(ProcessingNode, on_delete=models.CASCADE)


class ProcessingNodeGroupObjectPermission(GroupObjectPermissionBase):
    """Which group may see which node."""

    content_object = models.ForeignKey(ProcessingNode, on_delete=models.CASCADE)
