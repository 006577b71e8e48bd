"""Registers the application with Django."""
from django.apps import AppConfig


class MainConfig(AppConfig):
    """WebODM's main application."""

    name = "app"
    verbose_name = "Application"
