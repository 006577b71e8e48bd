"""Our Celery tasks, importable from ``app.tasks``."""
