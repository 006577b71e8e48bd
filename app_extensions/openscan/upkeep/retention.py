"""Deletes what we know of people once nobody needs it: client addresses, refused requests, records of emails."""
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from app_extensions.openscan.accounts import addresses
from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import OutgoingMail, RequestAttempt, Scan, TokenRequest
from app_extensions.shared import mail

_ENDED = (Scan.DONE, Scan.FAILED, Scan.EXPIRED)
_MOST_SCANS = 5000


def forget_people() -> None:
    """Delete everything that is past its time. Safe to repeat; the next run does what this one left over."""
    forget_addresses()
    now = timezone.now()
    TokenRequest.objects.filter(state=TokenRequest.REFUSED, decided_at__lt=now - timedelta(days=conf.refused_days)).delete()
    RequestAttempt.objects.filter(created_at__lt=now - timedelta(hours=1)).delete()
    # Keep the row of a token's email that was given up: it tells the admin that the token was lost.
    mail.forget_old(OutgoingMail, now - timedelta(days=conf.mail_days), state=OutgoingMail.GIVEN_UP, token_requests__isnull=False)


def forget_addresses() -> int:
    """Replace the client addresses of ended scans with fingerprints, and remove those of reset scans.

    The fingerprint keeps a name under a public token bound to its client, who may still ask for the result.

    :return: how many addresses were replaced
    """
    before = timezone.now() - timedelta(days=conf.address_days)
    known = Scan.objects.exclude(client_address="")
    known.filter(state=Scan.RESET, reset_at__lte=before).update(client_address="")
    ended = known.filter(Q(finished_at__lte=before) | Q(finished_at=None, expired_at__lte=before), state__in=_ENDED)
    forgotten = 0
    left = ended.exclude(client_address__startswith=addresses.FINGERPRINT).order_by("pk").values_list("pk", "client_address")
    for pk, address in left[:_MOST_SCANS]:
        forgotten += Scan.objects.filter(pk=pk, client_address=address).update(client_address=addresses.fingerprint(address, pk))
    return forgotten
