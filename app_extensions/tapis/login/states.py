"""Clean up logins under way: remove expired ones, and the oldest ones if there are too many."""
from django.utils import timezone

from app_extensions.tapis.models import TapisOAuth2State

#: Most logins under way per IP address, and in total. Anybody can begin one without being logged in.
MOST_PER_ORIGIN = 20
MOST = 10_000


def remove_expired() -> int:
    """Delete states that are older than ten minutes, with any tokens that they hold. :return: how many"""
    return TapisOAuth2State.objects.filter(expires_at__lte=timezone.now()).delete()[0]


def make_room(origin: str) -> None:
    """If a limit is reached, delete the oldest unfinished logins to make room for a new one.

    :param origin: a hash of the address that begins the new login; its own old logins are deleted first
    """
    unused = TapisOAuth2State.objects.filter(used_at=None).order_by("-created_at")
    for rows, most in ((unused.filter(origin=origin), MOST_PER_ORIGIN), (unused, MOST)):
        too_old = list(rows.values_list("pk", flat=True)[most - 1:most + 99])
        if too_old:
            TapisOAuth2State.objects.filter(pk__in=too_old).delete()
