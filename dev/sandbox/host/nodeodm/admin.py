"""Nodes in Django's admin, with the object permissions that decide who may use them."""
from django.contrib import admin
from guardian.admin import GuardedModelAdmin

from .models import ProcessingNode


@admin.register(ProcessingNode)
class ProcessingNodeAdmin(GuardedModelAdmin):
    """Only the address and the label are edited; the node itself says the rest."""

    fields = ("hostname", "port", "token", "label")
    list_display = ("__str__", "hostname", "port", "engine", "engine_version", "queue_count", "last_refreshed")
