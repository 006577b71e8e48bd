"""Mail to token owners and administrators."""
