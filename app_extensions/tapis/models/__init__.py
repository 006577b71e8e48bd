"""The Tapis app's tables."""
from app_extensions.tapis.models.clients import TapisOAuth2Client
from app_extensions.tapis.models.flights import Flight, FlightFile, SeenFlight
from app_extensions.tapis.models.identities import TapisIdentity
from app_extensions.tapis.models.jobs import DiscoverySystem, SyncBatch, TapisJob
from app_extensions.tapis.models.mail import TapisMail
from app_extensions.tapis.models.preferences import TapisPreferences
from app_extensions.tapis.models.previews import FlightPreview, PreviewImage
from app_extensions.tapis.models.states import TapisOAuth2State
from app_extensions.tapis.models.tokens import TapisOAuth2Token

__all__ = [
    "DiscoverySystem",
    "Flight",
    "FlightFile",
    "FlightPreview",
    "PreviewImage",
    "SeenFlight",
    "SyncBatch",
    "TapisIdentity",
    "TapisJob",
    "TapisMail",
    "TapisOAuth2Client",
    "TapisOAuth2State",
    "TapisOAuth2Token",
    "TapisPreferences",
]
