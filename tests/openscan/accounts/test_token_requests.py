"""requestToken under abuse, and tokens whose email never arrived."""
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from app_extensions.openscan.accounts import token_requests, tokens
from app_extensions.openscan.accounts.addresses import client_address, network_of
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import OutgoingMail, RequestAttempt, TokenRequest

pytestmark = pytest.mark.django_db


def ask(number: int, client: str = "") -> None:
    token_requests.request_token(f"grace-{number}@example.org", "Grace", "Hopper", client or f"client-{number}")


def approved(address: str = "grace-1@example.org") -> tuple:
    ask(1)
    request = TokenRequest.objects.get(mail=address)
    return (request, *token_requests.approve(request))


def give_up(request: TokenRequest) -> None:
    OutgoingMail.objects.filter(pk=request.token_mail_id).update(
        state=OutgoingMail.GIVEN_UP, last_error="recipient refused (550)", payload="")
    request.refresh_from_db()


def test_everybody_together_has_a_limit_and_gets_it_back_after_an_hour(settings):
    settings.OPENSCAN_TOKEN_REQUESTS_TOTAL_PER_HOUR = "3"
    RequestAttempt.objects.all().delete()
    for number in range(3):
        ask(number)
    with pytest.raises(OpenScanError, match="3 requests an hour"):
        ask(3)
    assert not TokenRequest.objects.filter(mail="grace-3@example.org").exists()
    RequestAttempt.objects.update(created_at=timezone.now() - timezone.timedelta(minutes=61))
    ask(3)


@pytest.mark.parametrize("address, network", [
    ("2001:db8:1:2::5", "2001:db8:1::/48"), ("2001:db8:1:ffff::1", "2001:db8:1::/48"), ("203.0.113.9", "203.0.113.9"),
])
def test_the_networks_of_one_site_count_as_one_client(address, network):
    assert network_of(client_address(address, "", [])) == network


@pytest.mark.parametrize("text", ["unknown", "local"])
def test_clients_without_an_address_are_one_each(text):
    assert network_of(text) == text


def test_known_and_unknown_addresses_take_the_same_statements():
    """What a client could time: statements, and jobs that are queued."""
    ask(1)
    seen = []
    for number, client in ((1, "a"), (2, "b")):
        before = OutgoingMail.objects.count()
        with CaptureQueriesContext(connection) as queries:
            ask(number, client)
        seen.append([re.sub(r"'[^']*'|\"s\d+_x\d+\"|\b\d+\b", "?", query["sql"]) for query in queries])
        assert OutgoingMail.objects.count() == before
    assert seen[0] == seen[1]
    asked = TokenRequest.objects.filter(mail__in=("grace-1@example.org", "grace-2@example.org"))
    assert sorted(asked.values_list("times_asked", flat=True)) == [1, 2]


def test_a_token_whose_email_was_given_up_is_replaced_and_the_lost_one_revoked():
    request, lost, text = approved()
    with pytest.raises(OpenScanError, match="only once"):
        token_requests.approve(request)
    give_up(request)
    assert token_requests.is_lost(request)
    fresh, fresh_text = token_requests.approve(request)
    assert fresh != lost and tokens.find_token(text).revoked_at is not None and tokens.find_token(fresh_text).revoked_at is None
    assert request.token == fresh and request.token_mail.state == OutgoingMail.WAITING
    with pytest.raises(OpenScanError, match="only once"):
        token_requests.approve(request)


def test_a_token_that_is_in_use_is_not_replaced():
    """An administrator may have handed it over."""
    request, token, text = approved()
    give_up(request)
    tokens.require_token(text)
    request.refresh_from_db()
    with pytest.raises(OpenScanError, match="only once"):
        token_requests.approve(request)
    token.refresh_from_db()
    assert token.revoked_at is None
