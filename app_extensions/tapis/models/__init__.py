"""The Tapis app's tables."""
from .clients import TapisOAuth2Client
from .flights import Flight, FlightFile
from .identities import TapisIdentity
from .jobs import SyncBatch, TapisJob
from .mail import TapisMail
from .preferences import TapisPreferences
from .states import TapisOAuth2State
from .tokens import TapisOAuth2Token

__all__ = [
    "Flight",
    "FlightFile",
    "SyncBatch",
    "TapisIdentity",
    "TapisJob",
    "TapisMail",
    "TapisOAuth2Client",
    "TapisOAuth2State",
    "TapisOAuth2Token",
    "TapisPreferences",
]
