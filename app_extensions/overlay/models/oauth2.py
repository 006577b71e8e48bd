"""``app.models.oauth2``: the Tapis app's models under their documented name."""
from app_extensions.tapis.models import (
    TapisIdentity,
    TapisOAuth2Client,
    TapisOAuth2State,
    TapisOAuth2Token,
)

__all__ = ["TapisIdentity", "TapisOAuth2Client", "TapisOAuth2State", "TapisOAuth2Token"]
