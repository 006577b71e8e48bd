"""Handing work to the Celery worker so that a broker that is away costs time, never work.

What is queued here is only ever a hint: the periodic jobs find the same work in the database.
"""
import logging
from typing import Any, Optional

from django.db import transaction
from kombu.exceptions import OperationalError as BrokerError

from app_extensions.host.celery_app import app
from app_extensions.openscan.conf import conf

logger = logging.getLogger("app.logger")

#: Registered names of our jobs begin with this. Jobs are sent by name, so no rule needs to import ``tasks``.
TASKS = "app_extensions.openscan.tasks."

#: Kombu tries for ever to reach a Redis that is away, whatever `retry` says; a rig waits a minute for its answer.
_IMPATIENT = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5, "socket_connect_timeout": 3,
              "socket_timeout": 5}


def dispatch(task_name: str, *arguments: Any, expires_seconds: Optional[float] = None) -> bool:
    """Queue a job of ``tasks`` now.

    :param task_name: a function's name there
    :param arguments: what JSON can hold
    :param expires_seconds: not worth running after this long; for jobs that are queued again and again
    :return: False where the broker did not take it
    """
    try:
        with app.connection_for_write() as connection:
            connection.transport_options = {**connection.transport_options, **_IMPATIENT}
            app.send_task(
                TASKS + task_name, args=list(arguments), retry=False, expires=expires_seconds, queue=conf.celery_queue or None,
                connection=connection,
            )
    except BrokerError as problem:
        logger.warning("OpenScan: %s%r could not be queued (%s); a periodic job will see to it", task_name, arguments,
                       problem)
        return False
    return True


def dispatch_on_commit(task_name: str, *arguments: Any) -> None:
    """Queue a job once the transaction at hand is committed (at once if there is none)."""
    transaction.on_commit(lambda: dispatch(task_name, *arguments))
