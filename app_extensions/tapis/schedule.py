"""Periodic jobs, and reactions to WebODM's events and logins. ``TapisConfig.ready`` calls this, so do not use the database here."""
from typing import Any

from app_extensions.host import signals
from app_extensions.host.beat import add_periodic
from app_extensions.tapis.catalog.discovery import after_login
from app_extensions.tapis.conf import conf
from app_extensions.tapis.jobs import NAMES, continue_after_login
from app_extensions.tapis.login.oauth2 import logged_in
from app_extensions.tapis.sync.run import task_removed

HOUR = 3600.0


def schedule() -> None:
    """Add our entries to WebODM's beat. Periodic discoveries and syncs are off unless a setting switches them on."""
    _add("tapis-take-up-jobs-again", NAMES + "take_up_jobs_again", 60.0)
    _add("tapis-deliver-mails", NAMES + "deliver_tapis_mails", 60.0)
    _add("tapis-cleanup-expired-oauth-states", NAMES + "cleanup_expired_oauth_states", HOUR)
    _add("tapis-forget-old-jobs", NAMES + "forget_old_tapis_jobs", HOUR)
    if conf.discovery_hours > 0:
        _add("tapis-periodic-flight-discovery", NAMES + "periodic_flight_discovery", conf.discovery_hours * HOUR)
    if conf.sync_hours > 0:
        _add("tapis-sync-all-flight-projects", NAMES + "sync_all_flight_projects", conf.sync_hours * HOUR)


def _add(name: str, task: str, seconds: float) -> None:
    add_periodic(name, task, seconds, queue=conf.queue)


def connect() -> None:
    """Connect to WebODM's signals and to logins."""
    signals.task_removing.connect(_task_removing, dispatch_uid="tapis.task_removing")
    logged_in.connect(_logged_in, dispatch_uid="tapis.logged_in")


def _task_removing(sender: Any, task_id: Any, **kwargs: Any) -> None:
    task_removed(task_id)


def _logged_in(sender: Any, user: Any, client: Any, **kwargs: Any) -> None:
    continue_after_login(user, client)
    after_login(user, client)
