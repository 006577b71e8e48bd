"""One value that a plugin keeps through its data store, a user's or everybody's."""
from django.conf import settings
from django.contrib.postgres.fields import JSONField
from django.db import models


class PluginDatum(models.Model):
    """The key is ``<plugin>::<name>``; one column a type."""

    key = models.CharField(max_length=255, db_index=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, default=None, on_delete=models.CASCADE)
    int_value = models.IntegerField(blank=True, null=True, default=None)
    float_value = models.FloatField(blank=True, null=True, default=None)
    bool_value = models.NullBooleanField(blank=True, null=True, default=None)
    string_value = models.TextField(blank=True, null=True, default=None)
    json_value = JSONField(default=None, blank=True, null=True)

    class Meta:
        verbose_name = "Plugin Datum"
        verbose_name_plural = "Plugin Datum"

    def __str__(self):
        return self.key
