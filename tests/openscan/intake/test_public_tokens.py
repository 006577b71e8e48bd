"""A public token serves everybody: shares, holds that lapse, deadlines, open projects, calls, refusals, and what is promised."""
import datetime
import uuid

import pytest
from django.db import IntegrityError
from django.utils import timezone

from app_extensions.host import media
from app_extensions.openscan import lifecycle, links
from app_extensions.openscan.accounts import books, ledger, shares
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans, uploads
from app_extensions.openscan.models import ClientDay, LedgerEntry, Part, Scan, Token
from tests.openscan.helpers import MB, Rig, in_processes, private_token, public_token, put_part

ADA, BOB = "198.51.100.7", "198.51.100.8"


def create(token: Token, address: str = ADA, size_bytes: int = 10 * MB, name: str = "", parts: int = 1) -> Scan:
    return scans.create_scan(token, name or uuid.uuid4().hex, photos=1, parts=parts, filesize_bytes=size_bytes, address=address)


def refused(token: Token, *words: str, **fields) -> None:
    """Creating a set is refused with 400 and these words, and costs nothing."""
    token.refresh_from_db()
    before = token.credit_bytes
    with pytest.raises(OpenScanError) as problem:
        create(token, **fields)
    assert problem.value.status == 400, problem.value.sentence
    for word in words:
        assert word in problem.value.sentence
    token.refresh_from_db()
    assert token.credit_bytes == before and books.find_discrepancies([token]) == []


def long_ago(scan: Scan, **ago: int) -> Scan:
    """As if the scan had been created that long ago."""
    at = timezone.now() - datetime.timedelta(**ago)
    Scan.objects.filter(pk=scan.pk).update(created_at=at, links_expire_at=at + datetime.timedelta(hours=4))
    scan.refresh_from_db()
    return scan


@pytest.mark.django_db
class TestShare:
    def test_one_client_gets_a_quarter_of_the_daily_credit(self):
        token, _ = public_token(100 * MB)
        create(token, size_bytes=20 * MB)
        refused(token, "share", "25 MB", "(5 MB) left", size_bytes=6 * MB)
        create(token, size_bytes=5 * MB)
        create(token, BOB, size_bytes=25 * MB)

    def test_five_calls_do_not_hold_everybodys_credit(self):
        token, _ = public_token(100 * MB)
        for _ in range(5):
            try:
                create(token, size_bytes=20 * MB)
            except OpenScanError:
                continue
        token.refresh_from_db()
        assert token.credit_bytes == 80 * MB

    def test_what_was_used_up_today_counts_until_midnight(self, monkeypatch):
        token, _ = public_token(100 * MB)
        scan = create(token, size_bytes=20 * MB)
        ledger.post(scan, 20 * MB)
        Scan.objects.filter(pk=scan.pk).update(state=Scan.APPROVED)
        refused(token, "share", size_bytes=6 * MB)
        scans.reset_scan_row(scan)
        refused(token, "share", size_bytes=6 * MB)
        tomorrow = timezone.now() + datetime.timedelta(days=1)
        monkeypatch.setattr(timezone, "now", lambda: tomorrow)
        create(token, size_bytes=25 * MB)

    def test_a_refund_gives_the_share_back(self):
        token, _ = public_token(100 * MB)
        scan = create(token, size_bytes=20 * MB)
        ledger.post(scan, 20 * MB)
        Scan.objects.filter(pk=scan.pk).update(state=Scan.FAILED)
        ledger.refund(scan)
        create(token, size_bytes=25 * MB)

    def test_another_size_of_the_same_project_counts_once(self):
        token, _ = public_token(100 * MB)
        scan = create(token, size_bytes=20 * MB)
        create(token, size_bytes=25 * MB, name=scan.name)
        refused(token, "share", size_bytes=26 * MB, name=scan.name)

    def test_a_site_may_choose_the_share(self, settings):
        settings.OPENSCAN_PUBLIC_SHARE = 100
        token, _ = public_token(100 * MB)
        create(token, size_bytes=100 * MB)

    def test_a_private_token_has_no_shares(self):
        create(private_token(100 * MB)[0], size_bytes=100 * MB)


class TestLapse:
    @pytest.fixture(autouse=True)
    def nobody_works(self, settings, live_db):
        settings.OPENSCAN_CELERY_QUEUE = "nobody"

    def test_a_hold_lapses_if_no_byte_comes_within_an_hour(self):
        token, _ = public_token(100 * MB)
        old, new = long_ago(create(token), minutes=61), long_ago(create(token, BOB), minutes=59)
        assert scans.release_idle_holds() >= 1 and scans.release_idle_holds() == 0
        token.refresh_from_db()
        old.refresh_from_db()
        new.refresh_from_db()
        assert (token.credit_bytes, old.held_bytes, new.held_bytes, old.state) == (90 * MB, 0, 10 * MB, Scan.CREATED)
        assert books.find_discrepancies([token]) == []

    def test_a_byte_keeps_the_hold(self):
        token, _ = public_token(100 * MB)
        scan = long_ago(create(token, size_bytes=100, parts=2), minutes=61)
        with pytest.raises(OpenScanError):  # broke off after the first bytes: nothing is kept of it, but it is being uploaded
            uploads.receive(uploads.Upload(scan, 1), [b"x" * 10], 50)
        scans.release_idle_holds()
        assert Scan.objects.get(pk=scan.pk).held_bytes == 100

    def test_the_first_byte_after_a_lapse_holds_the_credit_again(self):
        token, _ = public_token(100 * MB)
        scan = long_ago(create(token, size_bytes=100), minutes=61)
        scans.release_idle_holds()
        scan.refresh_from_db()
        uploads.receive(uploads.open_upload(links.upload_links(scan, "")[0].rsplit("/", 1)[1]), [b"x" * 100], 100)
        scan.refresh_from_db()
        assert scan.held_bytes == 100 and scans.start_scan(token, scan.name, ADA).state == Scan.INITIALIZED
        assert [event.event for event in scan.events.all()] == ["create", "lapse", "resume", "start"]
        assert books.find_discrepancies([token]) == []

    def test_a_byte_after_a_lapse_is_refused_once_others_hold_the_credit(self):
        token, _ = public_token(100 * MB)
        scan = long_ago(create(token, size_bytes=25 * MB), minutes=61)
        scans.release_idle_holds()
        for number in range(4):
            create(token, f"203.0.113.{number}", size_bytes=25 * MB)
        scan.refresh_from_db()
        with pytest.raises(OpenScanError) as problem:
            uploads.receive(uploads.Upload(scan, 1), [b"x"], 25 * MB)
        assert problem.value.status == 400 and "Not enough credit" in problem.value.sentence
        assert not scan.parts.exists() and books.find_discrepancies([token]) == []

    def test_createproject_holds_it_again_at_once(self):
        token, _ = public_token(100 * MB)
        scan = long_ago(create(token), minutes=61)
        scans.release_idle_holds()
        assert create(token, name=scan.name).held_bytes == 10 * MB

    def test_a_private_hold_does_not_lapse(self):
        token, _ = private_token(100 * MB)
        scan = long_ago(create(token), hours=20)
        scans.release_idle_holds()
        assert Scan.objects.get(pk=scan.pk).held_bytes == 10 * MB


@pytest.mark.usefixtures("live_db")
class TestDeadline:
    @pytest.mark.parametrize("make", [public_token, private_token])
    def test_renewed_holds_end_a_day_after_creation(self, make, settings):
        """Before, a set that was renewed each few hours never expired."""
        settings.OPENSCAN_PUBLIC_SHARE = 100
        token, _ = make(100 * MB)
        first = create(token, size_bytes=100 * MB, parts=2)
        uploads.receive(uploads.Upload(first, 1), [b"x"], 1)
        long_ago(first, hours=25)
        again = create(token, size_bytes=100 * MB, name=first.name)
        first.refresh_from_db()
        assert again.pk != first.pk and (first.state, first.held_bytes) == (Scan.RESET, 0) and not first.parts.exists()
        assert books.find_discrepancies([token]) == []

    def test_four_nights_of_renewals_hold_no_more_than_the_daily_credit(self, monkeypatch, settings):
        settings.OPENSCAN_PUBLIC_SHARE = 100
        token, _ = public_token(100 * MB)
        names = []
        start = timezone.now()
        for hours in range(0, 96, 3):
            monkeypatch.setattr(timezone, "now", lambda at=start + datetime.timedelta(hours=hours): at)
            scans.expire_unstarted()
            for name in [*names, uuid.uuid4().hex]:
                try:
                    create(token, size_bytes=100 * MB, name=name)
                    names = list(dict.fromkeys([*names, name]))
                except OpenScanError:
                    continue
            held = sum(token.scans.values_list("held_bytes", flat=True))
            assert held <= 200 * MB  # what is held over one midnight, and the new day's
            assert books.find_discrepancies([token]) == []

    def test_links_that_were_given_in_time_work_to_their_end(self):
        token, _ = private_token(100 * MB)
        scan = create(token, size_bytes=100)
        Scan.objects.filter(pk=scan.pk).update(created_at=timezone.now() - datetime.timedelta(hours=25))
        scans.expire_unstarted()
        uploads.receive(uploads.Upload(scan, 1), [b"x" * 100], 100)
        assert scans.start_scan(token, scan.name).state == Scan.INITIALIZED

    def test_another_client_does_not_end_an_overdue_project(self):
        token, _ = public_token(100 * MB)
        scan = create(token)
        Scan.objects.filter(pk=scan.pk).update(created_at=timezone.now() - datetime.timedelta(hours=25))
        refused(token, "taken by another user", address=BOB, name=scan.name)


@pytest.mark.usefixtures("live_db")
class TestLimits:
    def test_rows_come_with_the_parts(self):
        """Before, 2,000 bytes of credit bought 2,000 rows."""
        token, _ = private_token(100 * MB)
        scan = create(token, size_bytes=2000, parts=2000)
        assert not Part.objects.filter(scan=scan).exists() and len(scans.missing_parts(scan)) == 2000
        uploads.receive(uploads.Upload(scan, 7), [b"x"], 1)
        assert [part.number for part in scan.parts.all()] == [7] and len(scans.missing_parts(scan)) == 1999

    def test_a_parts_number_has_64_bits(self):
        scan = create(private_token()[0], size_bytes=100)
        part = Part.objects.create(pk=2**31, scan=scan, number=1, size_bytes=1, file_name="x", received_at=timezone.now())
        assert Part.objects.filter(pk=2**31).exists()
        part.delete()

    def test_one_client_has_few_projects_open_at_a_time(self, settings):
        settings.OPENSCAN_OPEN_SCANS = 2
        token, _ = public_token(100 * MB)
        first = create(token, size_bytes=1)
        create(token, size_bytes=1)
        refused(token, "open projects", "2 are allowed", size_bytes=1)
        create(token, BOB, size_bytes=1)
        create(token, size_bytes=2, name=first.name)  # no further one
        scans.reset_scan(token, first.name, ADA)
        create(token, size_bytes=1)

    def test_all_clients_together_have_a_limit_too(self, settings):
        settings.OPENSCAN_OPEN_SCANS_PER_TOKEN = 3
        token, _ = public_token(100 * MB)
        for number in range(3):
            create(token, f"203.0.113.{number}", size_bytes=1)
        refused(token, "open projects", size_bytes=1)

    def test_calls_are_counted_whatever_becomes_of_them(self, settings):
        settings.OPENSCAN_CALLS_PER_DAY = 3
        token, _ = public_token(100 * MB)
        for _ in range(3):
            refused(token, "too large", size_bytes=10**13)
        refused(token, "Too many createProject calls", size_bytes=1)
        create(token, BOB, size_bytes=1)

    def test_refused_sets_have_a_daily_allowance(self, settings):
        settings.OPENSCAN_REFUSALS_PER_DAY, settings.OPENSCAN_CELERY_QUEUE = 2, "nobody"
        token, _ = public_token(100 * MB)
        for event in (lifecycle.REFUSE, lifecycle.GIVE_UP, lifecycle.REFUSE):  # giving up is our fault and does not count
            scan = create(token, size_bytes=1)
            Scan.objects.filter(pk=scan.pk).update(state=Scan.INITIALIZED, started_at=timezone.now())
            lifecycle.apply(scan.pk, event, error="It cannot be used.")
        refused(token, "refused sets", "2 are allowed", size_bytes=1)
        create(token, BOB, size_bytes=1)

    def test_nobody_can_tell_from_the_counts_who_it_was(self, monkeypatch):
        token, _ = public_token(100 * MB)
        create(token)
        tomorrow = timezone.now() + datetime.timedelta(days=1)
        monkeypatch.setattr(timezone, "now", lambda: tomorrow)
        create(token)
        names = set(ClientDay.objects.filter(token=token).values_list("client", flat=True))
        assert len(names) == 2 and not any(ADA in name for name in names)
        later = tomorrow + datetime.timedelta(days=shares.KEPT_DAYS + 1)
        monkeypatch.setattr(timezone, "now", lambda: later)
        assert shares.drop_old_days() >= 2 and not ClientDay.objects.filter(token=token).exists()


@pytest.mark.django_db
class TestPromised:
    def test_disk_that_is_promised_is_not_promised_again(self, monkeypatch, settings):
        settings.OPENSCAN_FREE_RESERVE = 0
        token, _ = private_token(10**9)
        before = Scan.objects.filter(state=Scan.CREATED, held_bytes__gt=0)
        promised = sum(scan.declared_bytes - scan.received_bytes for scan in before)
        monkeypatch.setattr(media, "free_bytes", lambda path: promised + 100 * MB)
        scan = create(token, size_bytes=60 * MB)
        with pytest.raises(OpenScanError) as problem:
            create(token, size_bytes=60 * MB)
        assert problem.value.status == 507 and "40 MB" in problem.value.sentence
        create(token, size_bytes=100 * MB, name=scan.name)  # its own promise is no obstacle

    def test_quota_that_is_promised_is_not_promised_again(self, django_user_model):
        owner = django_user_model.objects.create_user(f"quota-{uuid.uuid4().hex[:8]}")
        owner.profile.quota = 100  # MiB
        owner.profile.save()
        token, _ = private_token(10**9, owner=owner)
        create(token, size_bytes=60 * MB)
        refused(token, "quota", size_bytes=60 * MB)
        create(token, size_bytes=40 * MB)


@pytest.mark.django_db
def test_only_a_name_that_is_taken_is_called_several_clients_at_once(monkeypatch):
    """Before, each broken constraint ended in "several clients at once"."""
    token, _ = private_token()
    monkeypatch.setattr(lifecycle, "create", lambda **fields: LedgerEntry.objects.create(
        token=token, kind="grant", amount_bytes=1, balance_bytes=-1, key=uuid.uuid4().hex))
    with pytest.raises(IntegrityError, match="balance_not_negative"):
        create(token)


def create_one(work: tuple) -> bool:
    token_id, number = work
    try:
        create(Token.objects.get(pk=token_id), size_bytes=10 * MB)
    except OpenScanError:
        return False
    return True


def test_many_processes_of_one_client_get_one_share(live_db):
    token, _ = public_token(200 * MB)
    assert sum(in_processes(create_one, [(token.pk, number) for number in range(8)])) == 5
    token.refresh_from_db()
    assert token.credit_bytes == 150 * MB and books.find_discrepancies([token]) == []


def test_two_rigs_of_a_public_token_over_http(stack, live_db):
    """The share is by address as the server sees it, and a refusal is a sentence in JSON."""
    text = public_token(40_000)[1]
    ada, bob = Rig(stack.address(), text, address=ADA), Rig(stack.address(), text, address=BOB)
    assert put_part(ada.create("mine", 10_000)[0], b"x" * 10_000).status_code == 200
    answer = ada.get("createProject", project="more", photos=1, parts=1, filesize=1)
    assert answer.status_code == 400 and "share" in answer.json()["error"]
    bob.create("his", 10_000)
