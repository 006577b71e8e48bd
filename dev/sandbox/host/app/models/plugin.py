"""Whether a plugin is switched on. A row a plugin; rows without a plugin on disk are removed."""
from django.db import models


class Plugin(models.Model):
    """The name is the plugin's directory."""

    name = models.CharField(max_length=255, primary_key=True)
    enabled = models.BooleanField(db_index=True, default=True)

    class Meta:
        verbose_name = "Plugin"
        verbose_name_plural = "Plugins"

    def __str__(self):
        return self.name

    def enable(self):
        """Switches the plugin on."""
        self.enabled = True
        self.save()

    def disable(self):
        """Switches the plugin off."""
        self.enabled = False
        self.save()
