"""Administration › Tapis. No page shows a secret or a token, and none can be read back from a form."""
from app_extensions.tapis.admin import clients, identities, jobs, tokens

__all__ = ["clients", "identities", "jobs", "tokens"]
