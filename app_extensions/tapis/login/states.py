"""Logins under way: those that can no longer be finished, and those that are too many."""
from django.utils import timezone

from app_extensions.tapis.models import TapisOAuth2State

#: Logins under way that one address may have, and all together. Anybody may begin one without being logged in.
MOST_PER_ORIGIN = 20
MOST = 10_000


def remove_expired() -> int:
    """Forget the states whose ten minutes are over, with tokens that waited in them. :return: how many"""
    return TapisOAuth2State.objects.filter(expires_at__lte=timezone.now()).delete()[0]


def make_room(origin: str) -> None:
    """Forget the oldest logins that were begun and not finished, where there are as many as may be.

    :param origin: a hash of the address that begins another one: it loses its own first
    """
    unused = TapisOAuth2State.objects.filter(used_at=None).order_by("-created_at")
    for rows, most in ((unused.filter(origin=origin), MOST_PER_ORIGIN), (unused, MOST)):
        too_old = list(rows.values_list("pk", flat=True)[most - 1:most + 99])
        if too_old:
            TapisOAuth2State.objects.filter(pk__in=too_old).delete()
