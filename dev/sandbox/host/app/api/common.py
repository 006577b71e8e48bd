"""Checks and names that several API views share."""
import re

from rest_framework import exceptions

from app import models


def get_and_check_project(request, project_pk, perms=("view_project",), defer=False):
    """The project, if the user has all of these permissions on it. Raises NotFound otherwise, existing or not."""
    query = models.Project.objects.only("id") if defer else models.Project.objects
    try:
        project = query.get(pk=project_pk, deleting=False)
    except (models.Project.DoesNotExist, ValueError) as error:
        raise exceptions.NotFound() from error
    check_project_perms(request, project, perms)
    return project


def check_project_perms(request, project, perms=("view_project",)):
    """Raises NotFound unless the user has all of these permissions on the project."""
    if not all(request.user.has_perm(perm, project) for perm in perms):
        raise exceptions.NotFound()


def get_asset_download_filename(task, asset: str) -> str:
    """The asset's name with the task's in front, reduced to letters, digits and dashes."""
    name = (task.name or "").replace(" ", "-").replace("/", "-")
    name = re.sub(r"[^0-9a-zA-Z-_]+", "", name)
    return re.sub(r"--+", "-", f"{name}-{asset}" if task.name else asset)
