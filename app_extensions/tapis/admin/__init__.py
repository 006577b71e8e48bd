"""Pages under Administration › Tapis. No page or form ever shows a secret or a token."""
from app_extensions.tapis.admin import clients, identities, jobs, tokens

__all__ = ["clients", "identities", "jobs", "tokens"]
