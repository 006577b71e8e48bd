"""Background work: the Celery application and WebODM's own tasks."""
