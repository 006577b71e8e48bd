"""Registers the application with Django."""
from django.apps import AppConfig


class NodeodmConfig(AppConfig):
    """WebODM's node management."""

    name = "nodeodm"
    verbose_name = "Node Management"
