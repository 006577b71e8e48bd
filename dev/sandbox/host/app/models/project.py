"""A project: the owner's folder of tasks, with WebODM's object permissions."""
import logging
import os
import shutil
import uuid

from django.conf import settings
from django.db import models
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils import timezone
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase
from guardian.shortcuts import assign_perm, get_perms_for_model

from app import pending_actions

logger = logging.getLogger("app.logger")


class Project(models.Model):
    """Tasks belong to one project; who may see the project may see its tasks."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    name = models.CharField(max_length=255)
    description = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    deleting = models.BooleanField(db_index=True, default=False)
    tags = models.TextField(db_index=True, default="", blank=True)
    public = models.BooleanField(default=False)
    public_edit = models.BooleanField(default=False)
    public_id = models.UUIDField(db_index=True, default=None, unique=True, blank=True, null=True)

    class Meta:
        verbose_name = "Project"
        verbose_name_plural = "Projects"

    def __str__(self):
        return self.name

    def save(self, *args, **kwargs):
        """Saves; a public project gets its public id."""
        if self.public and self.public_id is None:
            self.public_id = uuid.uuid4()
        super().save(*args, **kwargs)

    def delete(self, *args, **kwargs):
        """Deletes an empty project now; one with tasks is marked, and deleted once the workers have removed its tasks."""
        if self.task_set.exists():
            self.task_set.update(pending_action=pending_actions.REMOVE)
            self.deleting = True
            self.save()
            return None
        self._remove_empty_directory()
        return super().delete(*args, **kwargs)

    def _remove_empty_directory(self) -> None:
        directory = self.get_project_dir()
        if not os.path.isdir(directory):
            return
        if any(files for _, _, files in os.walk(directory)):
            logger.warning("Project %s goes, but there are files left in %s", self.id, directory)
            return
        shutil.rmtree(directory)

    def get_project_dir(self) -> str:
        """Where the tasks of this project keep their files. Raises ValueError before the project is saved."""
        if self.id is None:
            raise ValueError("A project has no directory before it is saved")
        return os.path.join(settings.MEDIA_ROOT, "project", str(self.id))

    def tasks(self):
        """The tasks' ids."""
        return self.task_set.only("id")

    def tasks_count(self) -> int:
        """How many tasks there are."""
        return self.task_set.count()


@receiver(post_save, sender=Project, dispatch_uid="project_post_save")
def project_post_save(sender, instance, created, **kwargs):
    """Gives the owner every permission on the project."""
    for permission in get_perms_for_model(sender):
        assign_perm(permission.codename, instance.owner, instance)


class ProjectUserObjectPermission(UserObjectPermissionBase):
    """Which user may do what with which project."""

    content_object = models.ForeignKey(Project, on_delete=models.CASCADE)


class ProjectGroupObjectPermission(GroupObjectPermissionBase):
    """Which group may do what with which project."""

    content_object = models.ForeignKey(Project, on_delete=models.CASCADE)
