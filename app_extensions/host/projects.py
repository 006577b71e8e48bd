"""WebODM's projects: made, found, named, tagged, and who may do what with them."""
from collections.abc import Iterable
from typing import Optional

from app.models import Project
from django.contrib.auth.models import User
from django.db.models import Count

#: The length of the name column of projects and tasks.
NAME_LENGTH = 255


def clip_name(text: str, suffix: str = "") -> str:
    """``text`` and ``suffix`` in at most 255 characters; what is too much goes from ``text``, and the cut shows as "…"."""
    room = NAME_LENGTH - len(suffix)
    if len(text) > room:
        text = text[: room - 1] + "…"
    return text + suffix


def create_project(owner: User, name: str, description: str = "", tags: Iterable[str] = ()) -> Project:
    """Makes a project; WebODM gives its owner all permissions on it. Names too long are clipped."""
    return Project.objects.create(
        owner=owner, name=clip_name(name), description=description, tags=_join(tags)
    )


def get_project(project_id: Optional[int]) -> Optional[Project]:
    """The project, or None where it is gone or on its way out."""
    if project_id is None:
        return None
    return Project.objects.filter(pk=project_id, deleting=False).first()


def project_tags(project: Project) -> list[str]:
    """The tags: one comma-separated text in the database."""
    return [tag.strip() for tag in project.tags.split(",") if tag.strip()]


def delete_project(project: Project) -> None:
    """Deletes the project: at once without tasks, otherwise once WebODM's workers have removed them."""
    project.delete()


def user_can(user: User, perm: str, project: Project) -> bool:
    """Whether the user has a permission (``view``, ``change``, ``add``, ``delete``) on the project."""
    codename = perm if perm.endswith("_project") else f"{perm}_project"
    return user.has_perm(codename, project)


def _join(tags: Iterable[str]) -> str:
    return ",".join(" ".join(tag.replace(",", " ").split()) for tag in tags if tag.strip())


def projects_by_id(project_ids: Iterable[int]) -> list[Project]:
    """Those of the projects that exist and are not on their way out."""
    return list(Project.objects.filter(pk__in=list(project_ids), deleting=False))


def task_counts(project_ids: Iterable[int]) -> dict[int, int]:
    """How many tasks each project has, in one query; projects without any are missing."""
    rows = Project.objects.filter(pk__in=list(project_ids), task__isnull=False)
    return dict(rows.annotate(number=Count("task")).order_by().values_list("pk", "number"))
