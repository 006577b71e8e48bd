"""A named list of processing options, a user's own or the system's."""
from django.conf import settings
from django.contrib.postgres.fields import JSONField
from django.db import models
from django.utils import timezone

from .task_options import validate_task_options


class Preset(models.Model):
    """Options in a task's format."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, blank=True, null=True, on_delete=models.CASCADE)
    name = models.CharField(max_length=255)
    options = JSONField(default=list, blank=True, validators=[validate_task_options])
    created_at = models.DateTimeField(default=timezone.now)
    system = models.BooleanField(db_index=True, default=False)

    class Meta:
        verbose_name = "Preset"
        verbose_name_plural = "Presets"

    def __str__(self):
        return self.name
