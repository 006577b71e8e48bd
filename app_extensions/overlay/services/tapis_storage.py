"""``app.services.tapis_storage``: the documented place of the Tapis services."""
from app_extensions.tapis.services import TapisFlightDiscoveryService, TapisStorageService

__all__ = ["TapisFlightDiscoveryService", "TapisStorageService"]
