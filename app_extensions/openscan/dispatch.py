"""Queues jobs for the Celery worker. If the broker is down, work is delayed but never lost.

A queued job is only a hint: the periodic jobs find the same work in the database.
"""
import logging
from typing import Any, Optional

from django.db import transaction
from kombu.exceptions import OperationalError as BrokerError

from app_extensions.host.celery_app import app
from app_extensions.openscan.conf import conf

logger = logging.getLogger("app.logger")

#: Prefix of our jobs' registered names. Jobs are sent by name, so that rules need not import ``tasks``.
TASKS = "app_extensions.openscan.tasks."

#: Without these limits Kombu retries an unreachable Redis forever, whatever `retry` says. A rig waits only a minute for its answer.
_IMPATIENT = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5, "socket_connect_timeout": 3,
              "socket_timeout": 5}


def dispatch(task_name: str, *arguments: Any, expires_seconds: Optional[float] = None) -> bool:
    """Queue a job of ``tasks`` now.

    :param task_name: name of a function in ``tasks``
    :param arguments: values that JSON can hold
    :param expires_seconds: drop the job if it has not started after this long; for jobs that are queued again and again
    :return: False if the broker did not take the job
    """
    try:
        with app.connection_for_write() as connection:
            connection.transport_options = {**connection.transport_options, **_IMPATIENT}
            app.send_task(
                TASKS + task_name, args=list(arguments), retry=False, expires=expires_seconds, queue=conf.celery_queue or None,
                connection=connection,
            )
    except BrokerError as problem:
        logger.warning("OpenScan: %s%r could not be queued (%s); a periodic job will pick it up", task_name, arguments,
                       problem)
        return False
    return True


def dispatch_on_commit(task_name: str, *arguments: Any) -> None:
    """Queue a job once the current transaction is committed, or at once outside a transaction."""
    transaction.on_commit(lambda: dispatch(task_name, *arguments))
