"""A job that CELERY_INCLUDE names."""
from worker.celery import app

from contract_probe_app.apps import note


@app.task(ignore_result=True)
def tick():
    """Notes that it ran."""
    note("tick")
