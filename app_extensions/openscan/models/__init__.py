"""The OpenScan app's tables, one noun per module."""
from app_extensions.openscan.models.client import ClientDay
from app_extensions.openscan.models.event import ScanEvent
from app_extensions.openscan.models.ledger import LedgerEntry, Refill
from app_extensions.openscan.models.mail import OutgoingMail
from app_extensions.openscan.models.node import NodeRecord, NodeWatch
from app_extensions.openscan.models.objects import ArchivedSet, StoredObject
from app_extensions.openscan.models.request import CreditRequest, RequestAttempt, TokenRequest
from app_extensions.openscan.models.scan import Part, Scan
from app_extensions.openscan.models.token import Token
from app_extensions.openscan.models.upload import BrowserUpload

__all__ = [
    "ArchivedSet", "BrowserUpload", "ClientDay", "CreditRequest", "LedgerEntry", "NodeRecord", "NodeWatch", "OutgoingMail", "Part",
    "Refill", "RequestAttempt", "Scan", "ScanEvent", "StoredObject", "Token", "TokenRequest",
]
