"""Logins under way that can no longer be finished."""
from django.utils import timezone

from app_extensions.tapis.models import TapisOAuth2State


def remove_expired() -> int:
    """Forget the states whose ten minutes are over, with tokens that waited in them. :return: how many"""
    return TapisOAuth2State.objects.filter(expires_at__lte=timezone.now()).delete()[0]
