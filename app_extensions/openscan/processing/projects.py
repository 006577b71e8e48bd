"""Keeps a WebODM project per token, with a task per scan."""
from typing import Any

from django.db import connection, transaction

from app_extensions.host import projects as host_projects
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.models import Scan, Token

#: Tag on a public token's project, so that consent can be seen and searched in WebODM itself.
CONSENT_TAG = "research-consent"


class NoOwner(Exception):
    """The token's WebODM user is gone and no other one was chosen."""


def project_for(token: Token) -> Any:
    """The token's project. Created for the first scan, and again if it was deleted in WebODM. Call it in a transaction.

    :raises NoOwner: there is nobody to own it
    """
    row = Token.objects.select_for_update().get(pk=token.pk)
    project = host_projects.get_project(row.webodm_project_id) if row.webodm_project_id else None
    if project is None:
        owner = tokens.token_owner(row)
        if owner is None:
            raise NoOwner("The WebODM user of this token was deleted; ask the site's administrator to choose another one.")
        project = host_projects.create_project(
            owner, _name(row), description=_description(row), tags=_tags(row)
        )
        row.webodm_project_id = project.pk
        row.save(update_fields=["webodm_project_id"])
    return project


def _name(token: Token) -> str:
    return host_projects.clip_name(f"OpenScan: {token.person or token.prefix}")


def _description(token: Token) -> str:
    if token.is_public:
        return ("Scans sent under a public OpenScan token. Their senders agreed that the photos are kept and may be used for "
                "research.")
    return f"Scans sent under the private OpenScan token of {token.person}."


def _tags(token: Token) -> "list[str]":
    return ["openscan", "public", CONSENT_TAG] if token.is_public else ["openscan", "private"]


def write_tags_by_spaces() -> int:
    """Convert the tags of projects that an earlier version created to WebODM's form. :return: how many projects were changed"""
    ids = Token.objects.exclude(webodm_project_id=None).values_list("webodm_project_id", flat=True)
    return host_projects.write_tags_by_spaces(ids)


def rewrite_old_tags(**_: Any) -> None:
    """Rewrite tags with commas, which an earlier version wrote. Runs after ``migrate``, not in one, as the rows are WebODM's."""
    if Token._meta.db_table in connection.introspection.table_names():  # not after `migrate openscan zero`
        write_tags_by_spaces()


def make_waiting_task(scan: Scan) -> Any:
    """A scan's waiting WebODM task. The task's row and the scan's pointer to it are written together or not at all.

    :raises NoOwner: as ``project_for``
    """
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        task = host_tasks.get_task(row.webodm_task_id) if row.webodm_task_id else None
        if task is None:
            project = project_for(scan.token)
            task = host_tasks.create_waiting_task(project, host_projects.clip_name(row.name))
            row.webodm_project_id, row.webodm_task_id = project.pk, task.id
            row.save(update_fields=["webodm_project_id", "webodm_task_id"])
    scan.webodm_project_id, scan.webodm_task_id = row.webodm_project_id, row.webodm_task_id
    return task
