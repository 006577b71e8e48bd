"""``app.tasks.tapis_storage``: the documented place of the Tapis app's Celery tasks."""
from app_extensions.tapis.tasks import (
    cleanup_expired_oauth_states,
    discover_and_create_flight_projects,
    download_flight_images,
    periodic_flight_discovery,
    sync_all_flight_projects,
)

__all__ = [
    "cleanup_expired_oauth_states",
    "discover_and_create_flight_projects",
    "download_flight_images",
    "periodic_flight_discovery",
    "sync_all_flight_projects",
]
