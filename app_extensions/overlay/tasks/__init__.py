"""Celery tasks of ours under ``app.tasks``."""
