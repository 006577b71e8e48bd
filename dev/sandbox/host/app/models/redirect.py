"""Where a project or task has moved in a cluster of WebODMs; here for its table only."""
from django.conf import settings
from django.db import models


class Redirect(models.Model):
    """One moved thing a row."""

    project_id = models.IntegerField(db_index=True, default=None, unique=True, blank=True, null=True)
    project_public_id = models.UUIDField(db_index=True, default=None, unique=True, blank=True, null=True)
    task_id = models.UUIDField(db_index=True, default=None, unique=True, blank=True, null=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)

    class Meta:
        verbose_name = "Redirect"
        verbose_name_plural = "Redirects"

    def __str__(self):
        return f"{self.project_id}/{self.project_public_id}/{self.task_id}"
