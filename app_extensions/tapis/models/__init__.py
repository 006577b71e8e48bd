"""The Tapis app's tables."""
from .clients import TapisOAuth2Client
from .identities import TapisIdentity
from .states import TapisOAuth2State
from .tokens import TapisOAuth2Token

__all__ = ["TapisIdentity", "TapisOAuth2Client", "TapisOAuth2State", "TapisOAuth2Token"]
