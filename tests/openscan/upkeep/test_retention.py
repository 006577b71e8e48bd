"""What is known of people goes when its time is over, and a name stays bound to its client."""
import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from app_extensions.openscan.accounts import token_requests
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import OutgoingMail, RequestAttempt, Scan, TokenRequest
from app_extensions.openscan.upkeep import overview, retention
from app_extensions.shared import mail
from tests.openscan.helpers import public_token

pytestmark = pytest.mark.django_db

ADDRESS = "198.51.100.7"


def days_ago(days: float):
    return timezone.now() - timezone.timedelta(days=days)


def scan_from(address: str = ADDRESS, **fields):
    token, _ = public_token()
    scan = scans.create_scan(token, "statue", photos=1, parts=1, filesize_bytes=9, address=address)
    Scan.objects.filter(pk=scan.pk).update(**fields)
    scan.refresh_from_db()
    return scan


@pytest.mark.parametrize("fields", [
    {"state": Scan.DONE, "finished_at": days_ago(0.01)}, {"state": Scan.FAILED, "finished_at": days_ago(0.01)},
    {"state": Scan.EXPIRED, "expired_at": days_ago(0.01)},
])
def test_the_address_of_a_scan_that_ended_is_forgotten_and_its_name_stays_its_clients(fields):
    scan = scan_from(**fields)
    retention.forget_people()
    scan.refresh_from_db()
    assert scan.client_address and ADDRESS not in scan.client_address
    assert scans.find_scan(scan.token, "statue", ADDRESS) == scan
    with pytest.raises(OpenScanError):
        scans.find_scan(scan.token, "statue", "198.51.100.8")
    with pytest.raises(OpenScanError):
        scans.find_scan(scan.token, "statue", scan.client_address)  # what is stored is no key
    kept = scan.client_address
    retention.forget_people()
    scan.refresh_from_db()
    assert scan.client_address == kept


def plan_of(query: str) -> str:
    """How PostgreSQL answers it on a table so large that it does not read all of it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute("EXPLAIN " + query)
        return "\n".join(line for line, in cursor.fetchall())


def test_queries_of_large_sites_use_the_indexes_made_for_them():
    """Django 2.2 doubles the percent sign in the condition of an index, and PostgreSQL then never uses it."""
    with CaptureQueriesContext(connection) as seen:
        retention.forget_addresses()
        overview.for_operator(get_user_model().objects.create_superuser("indexes", "i@example.org", "pass"))
    asked = [query["sql"] for query in seen.captured_queries]
    forget, = (sql for sql in asked if sql.startswith("SELECT") and "'was:%'" in sql)
    tokens, = (sql for sql in asked if "NULLS LAST" in sql)
    assert "openscan_scan_addressed" in plan_of(forget)
    assert "openscan_token_shown" in plan_of(tokens)
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE strpos(indexdef, repeat(chr(37), 2)) > 0")
        assert cursor.fetchall() == []


def test_two_scans_of_one_client_cannot_be_told_to_be_so():
    first, second = (scan_from(state=Scan.DONE, finished_at=days_ago(1)) for _ in range(2))
    retention.forget_people()
    assert len(set(Scan.objects.filter(pk__in=[first.pk, second.pk]).values_list("client_address", flat=True))) == 2


def test_a_scan_under_way_keeps_its_address_and_one_that_was_reset_has_none():
    waiting, gone = scan_from(), scan_from(state=Scan.RESET, reset_at=days_ago(0.01))
    retention.forget_people()
    assert Scan.objects.get(pk=waiting.pk).client_address == ADDRESS
    assert Scan.objects.get(pk=gone.pk).client_address == ""


def test_a_site_may_keep_addresses_longer(settings):
    settings.OPENSCAN_ADDRESS_DAYS = "7"
    young, old = (scan_from(state=Scan.DONE, finished_at=days_ago(days)) for days in (6, 8))
    retention.forget_people()
    assert Scan.objects.get(pk=young.pk).client_address == ADDRESS
    assert ADDRESS not in Scan.objects.get(pk=old.pk).client_address


def test_refused_people_are_deleted_after_their_time_and_may_ask_again(settings):
    settings.OPENSCAN_REFUSED_DAYS = "90"
    for name, days in (("old", 91), ("young", 89)):
        token_requests.request_token(f"{name}@example.org", "Grace", "Hopper", name)
        request = TokenRequest.objects.get(mail=f"{name}@example.org")
        token_requests.refuse(request, "boss")
        TokenRequest.objects.filter(pk=request.pk).update(decided_at=days_ago(days))
    token_requests.request_token("pending@example.org", "Grace", "Hopper", "pending")
    TokenRequest.objects.filter(mail="pending@example.org").update(created_at=days_ago(900))
    retention.forget_people()
    left = TokenRequest.objects.filter(mail__in=["old@example.org", "young@example.org", "pending@example.org"])
    assert sorted(left.values_list("mail", flat=True)) == ["pending@example.org", "young@example.org"]
    token_requests.request_token("old@example.org", "Grace", "Hopper", "again")
    assert TokenRequest.objects.get(mail="old@example.org").state == TokenRequest.PENDING


def test_records_of_emails_are_deleted_but_for_those_that_somebody_waits_for():
    token_requests.request_token("lost@example.org", "Grace", "Hopper", "lost")
    request = TokenRequest.objects.get(mail="lost@example.org")
    token_requests.approve(request)
    rows = {state: mail.enqueue(OutgoingMail, kind="test", to=["a@example.org"], subject="x", text="x") for state in
            (OutgoingMail.SENT, OutgoingMail.GIVEN_UP, OutgoingMail.WAITING)}
    rows["young"] = mail.enqueue(OutgoingMail, kind="test", to=["a@example.org"], subject="x", text="x")
    for state, row in rows.items():
        OutgoingMail.objects.filter(pk=row.pk).update(
            state=OutgoingMail.SENT if state == "young" else state, created_at=days_ago(29 if state == "young" else 31))
    OutgoingMail.objects.filter(pk=request.token_mail_id).update(state=OutgoingMail.GIVEN_UP, created_at=days_ago(31))
    retention.forget_people()
    left = set(OutgoingMail.objects.values_list("pk", flat=True))
    assert left >= {rows["young"].pk, rows[OutgoingMail.WAITING].pk, request.token_mail_id}
    assert not left & {rows[OutgoingMail.SENT].pk, rows[OutgoingMail.GIVEN_UP].pk}


def test_attempts_are_forgotten_after_an_hour_also_when_nobody_asks_any_more():
    RequestAttempt.objects.create(client_address="x", created_at=days_ago(0.05))
    retention.forget_people()
    assert not RequestAttempt.objects.filter(client_address="x").exists()
