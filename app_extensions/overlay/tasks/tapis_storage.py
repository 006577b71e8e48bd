"""``app.tasks.tapis_storage``: the Tapis app's Celery tasks under their documented name."""
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
