"""The site's name, which templates read as ``SETTINGS``."""
from django.db import models


class Setting(models.Model):
    """One row."""

    app_name = models.CharField(max_length=255)
    organization_name = models.CharField(default="WebODM", max_length=255, blank=True, null=True)
    organization_website = models.URLField(default="", max_length=255, blank=True, null=True)

    class Meta:
        verbose_name = "Settings"
        verbose_name_plural = "Settings"

    def __str__(self):
        return "Application"
