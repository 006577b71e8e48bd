"""Our services, importable from ``app.services``."""
