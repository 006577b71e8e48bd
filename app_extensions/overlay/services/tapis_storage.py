"""``app.services.tapis_storage``: the Tapis services under their documented name."""
from app_extensions.tapis.services import TapisFlightDiscoveryService, TapisStorageService

__all__ = ["TapisFlightDiscoveryService", "TapisStorageService"]
