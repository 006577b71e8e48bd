"""Services of ours under ``app.services``."""
