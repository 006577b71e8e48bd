"""A task: one photo set, its options, its state on a node and its files.

What it has on disk is in ``task_assets``, how a worker takes it through a node in ``task_processing``.
"""
import logging
import os
import shutil
import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField, JSONField
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from nodeodm import status_codes
from nodeodm.models import ProcessingNode

from app import pending_actions
from app.classes.console import Console

from .project import Project
from .task_assets import TaskAssets
from .task_options import validate_task_options
from .task_processing import TaskProcessing

logger = logging.getLogger("app.logger")


class Task(TaskAssets, TaskProcessing, models.Model):
    """WebODM's task without its geographic fields."""

    STATUS_CODES = (
        (status_codes.QUEUED, "QUEUED"),
        (status_codes.RUNNING, "RUNNING"),
        (status_codes.FAILED, "FAILED"),
        (status_codes.COMPLETED, "COMPLETED"),
        (status_codes.CANCELED, "CANCELED"),
    )
    PENDING_ACTIONS = (
        (pending_actions.CANCEL, "CANCEL"),
        (pending_actions.REMOVE, "REMOVE"),
        (pending_actions.RESTART, "RESTART"),
        (pending_actions.RESIZE, "RESIZE"),
        (pending_actions.IMPORT, "IMPORT"),
        (pending_actions.COMPACT, "COMPACT"),
    )

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, unique=True, serialize=False, editable=False)
    uuid = models.CharField(max_length=255, db_index=True, default="", blank=True)
    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    name = models.CharField(max_length=255, null=True, blank=True)
    processing_time = models.IntegerField(default=-1)
    processing_node = models.ForeignKey(ProcessingNode, on_delete=models.SET_NULL, null=True, blank=True)
    auto_processing_node = models.BooleanField(default=True)
    status = models.IntegerField(choices=STATUS_CODES, db_index=True, null=True, blank=True)
    last_error = models.TextField(null=True, blank=True)
    options = JSONField(default=dict, blank=True, validators=[validate_task_options])
    available_assets = ArrayField(models.CharField(max_length=80), default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    pending_action = models.IntegerField(choices=PENDING_ACTIONS, db_index=True, null=True, blank=True)
    public = models.BooleanField(default=False)
    public_edit = models.BooleanField(default=False)
    resize_to = models.IntegerField(default=-1)
    upload_progress = models.FloatField(default=0.0, blank=True)
    resize_progress = models.FloatField(default=0.0, blank=True)
    running_progress = models.FloatField(default=0.0, blank=True)
    import_url = models.TextField(default="", blank=True)
    images_count = models.IntegerField(blank=True, default=0)
    partial = models.BooleanField(default=False)
    potree_scene = JSONField(default=dict, blank=True)
    epsg = models.IntegerField(null=True, default=None, blank=True)
    wkt = models.TextField(null=True, default=None, blank=True)
    tags = models.TextField(db_index=True, default="", blank=True)
    orthophoto_bands = JSONField(default=list, blank=True)
    size = models.FloatField(default=0.0, blank=True)
    compacted = models.BooleanField(default=False)
    media = JSONField(default=list, blank=True)

    class Meta:
        verbose_name = "Task"
        verbose_name_plural = "Tasks"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._loaded_project_id = self.project.id
        self.console = Console(self.data_path("console_output.txt"))

    def __str__(self):
        return "Task [{}] ({})".format(self.name if self.name is not None else "unnamed", self.id)

    def save(self, *args, **kwargs):
        """Saves. Moves the files when the project changed; raises ValidationError on malformed options."""
        if self.project.id != self._loaded_project_id:
            self._move_directory(self._loaded_project_id)
            self._loaded_project_id = self.project.id
        if self.options not in (None, "", [], {}):
            try:
                self.options = self._meta.get_field("options").clean(self.options, self)
            except ValidationError as error:
                raise ValidationError({"options": error.error_list}) from error
        self.clean()
        self.validate_unique()
        super().save(*args, **kwargs)

    def _move_directory(self, old_project_id: int) -> None:
        old = self._directory(old_project_id)
        new = self._directory(self.project.id)
        if not os.path.exists(old) or os.path.exists(new):
            logger.warning("Project of %s changed, but its files stay: %s", self, old)
            return
        os.makedirs(os.path.dirname(new), exist_ok=True)
        shutil.move(old, new)

    def delete(self, using=None, keep_parents=False):
        """Deletes the row and the files; ``task_removing`` before, ``task_removed`` after."""
        from app.plugins import signals as plugin_signals

        task_id, directory = self.id, self._directory(self.project.id)
        plugin_signals.task_removing.send_robust(sender=type(self), task_id=task_id)
        result = super().delete(using, keep_parents)
        try:
            shutil.rmtree(directory)
        except FileNotFoundError as error:
            logger.warning(error)
        self.project.owner.profile.clear_used_quota_cache()
        plugin_signals.task_removed.send_robust(sender=type(self), task_id=task_id)
        return result

    def _directory(self, project_id: int) -> str:
        return os.path.join(settings.MEDIA_ROOT, "project", str(project_id), "task", str(self.id))

    def task_path(self, *args: str) -> str:
        """A path in the task's directory; the directory itself ends with a slash, as WebODM's does."""
        return os.path.join(self._directory(self.project.id), *(args or ("",)))

    def assets_path(self, *args: str) -> str:
        """A path among the results."""
        return self.task_path("assets", *args)

    def data_path(self, *args: str) -> str:
        """A path among what is neither photo nor result."""
        return self.task_path("data", *args)
