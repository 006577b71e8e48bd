"""The catalog: all flights that a user's discoveries found, imported or not, and the space left for their images."""
from typing import Any, Optional

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum

from app_extensions.host import media as host_media
from app_extensions.host import projects as host_projects
from app_extensions.host import quota as host_quota
from app_extensions.tapis.conf import conf
from app_extensions.tapis.models import Flight, SeenFlight

SORTS = {"flight": "name", "system": "system_id", "images": "image_count", "bytes": "total_bytes", "seen": "seen_at"}


def seen_flights(user: Any, *, search: str = "", tenant_id: str = "", system_id: str = "", imported: Optional[bool] = None) -> QuerySet:
    """The user's catalog. Each row has ``is_imported``: whether it has a project that still exists.

    :param imported: True: only imported flights; False: only the others; None: all
    """
    same = Flight.objects.filter(
        user_id=OuterRef("user_id"), base_url=OuterRef("base_url"), tenant_id=OuterRef("tenant_id"), system_id=OuterRef("system_id"),
        name=OuterRef("name"), project_id__in=host_projects.visible_ids(user))
    rows = SeenFlight.objects.filter(user_id=user.pk).annotate(is_imported=Exists(same))
    if search:
        rows = rows.filter(Q(name__icontains=search) | Q(system_id__icontains=search))
    if tenant_id:
        rows = rows.filter(tenant_id=tenant_id)
    if system_id:
        rows = rows.filter(system_id=system_id)
    return rows if imported is None else rows.filter(is_imported=imported)


def page_of(rows: QuerySet, sort: str, page: int, size: int) -> "list[dict[str, Any]]":
    """One page of a catalog. ``image_count`` and ``total_bytes`` are None if the images were not counted yet.

    :param sort: a key of SORTS, with ``-`` in front for the reverse order
    """
    key, down = SORTS[sort.lstrip("-")], sort.startswith("-")
    ordered = rows.order_by(F(key).desc(nulls_last=True) if down else F(key).asc(nulls_last=True), "system_id", "name")
    chosen = list(ordered[(page - 1) * size:page * size])
    known = Flight.objects.filter(user_id__in={row.user_id for row in chosen}, name__in={row.name for row in chosen})
    projects = {(row.base_url, row.tenant_id, row.system_id, row.name): row.project_id for row in known}
    return [{
        "flight_name": row.name, "system_id": row.system_id, "tenant_id": row.tenant_id, "images_path": f"{row.name}/code/images",
        "image_count": row.image_count, "total_bytes": row.total_bytes, "seen_at": row.seen_at.isoformat(),
        "project_id": projects.get((row.base_url, row.tenant_id, row.system_id, row.name)) if row.is_imported else None,
    } for row in chosen]


def totals_of(rows: QuerySet) -> "dict[str, int]":
    """Number of flights, images and bytes. ``uncounted`` flights are not part of the images and bytes."""
    found = rows.order_by().aggregate(flights=Count("pk"), images=Sum("image_count"), bytes=Sum("total_bytes"),
                                      uncounted=Count("pk", filter=Q(image_count=None)))
    return {name: value or 0 for name, value in found.items()}


def room_for(user: Any) -> "dict[str, Optional[int]]":
    """Bytes that may still be written for the user: disk space minus the reserve, and what is left of the quota (None: no quota)."""
    free = host_media.free_bytes(host_media.media_root())
    return {"disk_free_bytes": max(0, free - conf.disk_reserve_bytes), "quota_left_bytes": host_quota.quota_left_bytes(user)}
