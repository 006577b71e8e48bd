"""The app's pages in Django admin, one noun per module."""
from app_extensions.openscan.admin.ledger import LedgerEntryAdmin
from app_extensions.openscan.admin.objects import ArchivedSetAdmin, StoredObjectAdmin
from app_extensions.openscan.admin.requests import TokenRequestAdmin
from app_extensions.openscan.admin.scans import ScanAdmin
from app_extensions.openscan.admin.tokens import TokenAdmin

__all__ = ["ArchivedSetAdmin", "LedgerEntryAdmin", "ScanAdmin", "StoredObjectAdmin", "TokenAdmin", "TokenRequestAdmin"]
