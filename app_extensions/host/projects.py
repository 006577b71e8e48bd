"""Make, find, name and tag WebODM's projects, and check permissions on them."""
from collections.abc import Iterable
from typing import Optional

from app.models import Project
from django.contrib.auth.models import User
from django.db.models import Count, QuerySet
from guardian.shortcuts import get_objects_for_user

#: The length of the name column of projects and tasks.
NAME_LENGTH = 255


def clip_name(text: str, suffix: str = "") -> str:
    """``text`` and ``suffix`` in at most 255 characters. If necessary, ``text`` is cut and ends with "…"."""
    room = NAME_LENGTH - len(suffix)
    if len(text) > room:
        text = text[: room - 1] + "…"
    return text + suffix


def create_project(owner: User, name: str, description: str = "", tags: Iterable[str] = ()) -> Project:
    """Make a project. WebODM gives its owner all permissions on it. A name that is too long is clipped."""
    return Project.objects.create(
        owner=owner, name=clip_name(name), description=description, tags=_join(tags)
    )


def get_project(project_id: Optional[int]) -> Optional[Project]:
    """The project, or None if it is gone or is being deleted."""
    if project_id is None:
        return None
    return Project.objects.filter(pk=project_id, deleting=False).first()


def project_tags(project: Project) -> list[str]:
    """The project's tags. The database has them in one text, separated by spaces (``app/api/tags.py`` of WebODM 3.2)."""
    return project.tags.split()


def delete_project(project: Project) -> None:
    """Delete the project: at once if it has no tasks, otherwise when WebODM's workers have removed them."""
    project.delete()


def user_can(user: User, perm: str, project: Project) -> bool:
    """Whether the user has a permission (``view``, ``change``, ``add``, ``delete``) on the project."""
    codename = perm if perm.endswith("_project") else f"{perm}_project"
    return user.has_perm(codename, project)


def safe_tag(text: str) -> str:
    """A text as one of WebODM's tags.

    Spaces separate tags, and so do commas if tags are given as text. A tag that starts with ``.`` is hidden in the dashboard, and a tag
    with ``#`` cannot be searched for. All of these characters become ``_``.
    """
    joined = "_".join(text.replace(",", " ").replace("#", "_").split())
    return "_" + joined[1:] if joined.startswith(".") else joined


def write_tags_by_spaces(project_ids: Iterable[int]) -> int:
    """Rewrite tags that an earlier version separated by commas. A second run changes nothing. :return: number of changed projects"""
    changed = 0
    for project in Project.objects.filter(pk__in=list(project_ids), tags__contains=","):
        project.tags = _join(project.tags.replace(",", " ").split())
        project.save(update_fields=["tags"])
        changed += 1
    return changed


def _join(tags: Iterable[str]) -> str:
    return " ".join(safe_tag(tag) for tag in tags if tag.strip())


def visible_ids(user: User) -> QuerySet:
    """The ids of the projects that the user may see in WebODM: the user's own and shared ones. A query, for use within other queries.

    Superusers may see every project, but here they also get only their own projects and those shared with them.
    """
    seen = get_objects_for_user(user, "view_project", Project, with_superuser=False, accept_global_perms=False)
    return seen.filter(deleting=False).order_by().values("pk")


def projects_by_id(project_ids: Iterable[int]) -> list[Project]:
    """The given projects, without those that are gone or are being deleted."""
    return list(Project.objects.filter(pk__in=list(project_ids), deleting=False))


def task_counts(project_ids: Iterable[int]) -> dict[int, int]:
    """Number of tasks per project, in one query. Projects without tasks are missing."""
    rows = Project.objects.filter(pk__in=list(project_ids), task__isnull=False)
    return dict(rows.annotate(number=Count("task")).order_by().values_list("pk", "number"))
