"""The books: each movement once, never below zero, proved by openscan_check; alone, and under eight processes."""
import datetime
import json

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from app_extensions.openscan.accounts import books, ledger, tokens
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import LedgerEntry, Scan, Token
from app_extensions.openscan.models.ledger import LedgerError
from tests.openscan.helpers import MB, in_processes, new_scan, private_token, public_token


def private(credit_bytes: int = 100 * MB) -> Token:
    return private_token(credit_bytes)[0]


def public(daily_bytes: int = 100 * MB) -> Token:
    return public_token(daily_bytes)[0]


@pytest.fixture
def midnight():
    """midnight(token): a new day begins, and the token is topped up."""
    def passes(token: Token) -> None:
        token.refresh_from_db()
        ledger.refill(token, token.refilled_on + datetime.timedelta(days=1))

    return passes


def balance(token: Token) -> int:
    token.refresh_from_db()
    assert sum(entry.amount_bytes for entry in token.entries.all()) == token.credit_bytes
    assert books.find_discrepancies([token]) == []
    return token.credit_bytes


@pytest.mark.django_db
class TestMovements:
    def test_a_hold_takes_the_credit_once(self):
        token = private()
        scan = new_scan(token)
        assert balance(token) == 90 * MB
        assert ledger.hold(scan, 10 * MB) is False
        assert balance(token) == 90 * MB

    def test_another_size_corrects_the_hold(self):
        token = private()
        scan = new_scan(token)
        assert ledger.hold(scan, 30 * MB) and balance(token) == 70 * MB
        assert ledger.hold(scan, 5 * MB) and balance(token) == 95 * MB
        assert scan.held_bytes == 5 * MB

    def test_a_hold_beyond_the_credit_is_refused_with_what_is_left(self):
        token = private(9 * MB)
        with pytest.raises(OpenScanError) as refused:
            new_scan(token, 10 * MB)
        assert "10 MB" in refused.value.sentence and "9 MB" in refused.value.sentence
        assert refused.value.status == 400
        assert balance(token) == 9 * MB and not token.scans.exists()

    def test_post_uses_up_what_was_received_and_returns_the_rest(self):
        token = private()
        scan = new_scan(token)
        Scan.objects.filter(pk=scan.pk).update(received_bytes=7 * MB)
        assert ledger.post(scan) is True
        assert (balance(token), scan.charge, scan.posted_bytes, scan.held_bytes) == (93 * MB, Scan.POSTED, 7 * MB, 0)
        assert ledger.post(scan) is False and ledger.void(scan) is False
        assert balance(token) == 93 * MB

    def test_more_than_was_held_cannot_be_posted(self):
        scan = new_scan(private())
        with pytest.raises(ValueError):
            ledger.post(scan, 11 * MB)

    def test_void_gives_the_hold_back_once(self):
        token = private()
        scan = new_scan(token)
        assert ledger.void(scan) is True and ledger.void(scan) is False and ledger.post(scan) is False
        assert balance(token) == 100 * MB

    def test_a_refund_gives_back_what_was_posted_once(self):
        token = private()
        scan = new_scan(token)
        assert ledger.refund(scan) is False
        ledger.post(scan, 10 * MB)
        assert ledger.refund(scan, "our fault") is True and ledger.refund(scan) is False
        assert balance(token) == 100 * MB

    def test_grants_add_up_and_a_named_one_counts_once(self):
        token = private(0)
        assert ledger.grant(token, 5, actor="admin") and ledger.grant(token, 5, key="order-7")
        assert ledger.grant(token, 5, key="order-7") is False
        assert balance(token) == 10

    @pytest.mark.parametrize("amount", [0, -1, 10**15 + 1])
    def test_a_grant_has_to_be_sensible(self, amount):
        with pytest.raises(OpenScanError):
            ledger.grant(private(), amount)


@pytest.mark.django_db
class TestDailyCredit:
    TODAY = datetime.date(2099, 5, 1)
    TOMORROW = datetime.date(2099, 5, 2)

    def test_a_new_public_token_is_full(self):
        assert balance(public()) == 100 * MB

    def test_it_is_topped_up_once_a_day_and_not_beyond_its_amount(self):
        token = public()
        ledger.post(new_scan(token, 30 * MB), 30 * MB)
        assert ledger.refill(token, self.TODAY) is True and balance(token) == 100 * MB
        ledger.post(new_scan(token, 30 * MB), 30 * MB)
        assert ledger.refill(token, self.TODAY) is False and balance(token) == 70 * MB
        assert ledger.refill(token, self.TOMORROW) is True and balance(token) == 100 * MB

    def test_refill_all_leaves_private_and_revoked_tokens_alone(self):
        mine, everybodys, ended = private(5), public(), public()
        for token in (everybodys, ended):
            ledger.post(new_scan(token, 30 * MB), 30 * MB)
        tokens.revoke(ended)
        ledger.refill_all(self.TODAY)
        assert (balance(mine), balance(everybodys), balance(ended)) == (5, 100 * MB, 70 * MB)
        assert ledger.refill_all(self.TODAY) == 0

    def test_holding_over_midnight_does_not_multiply_the_daily_credit(self):
        token = public()
        held = [new_scan(token, 50 * MB), new_scan(token, 50 * MB)]
        ledger.refill(token, self.TODAY)
        for scan in held:
            ledger.void(scan)
        assert balance(token) == 100 * MB

    def test_another_size_after_midnight_does_not_multiply_it_either(self, midnight):
        """10 → 20 → 30 GB in three nights, before the rule."""
        token = public()
        scan = new_scan(token, 100 * MB)
        for _ in range(3):
            midnight(token)
            scan = scans.create_scan(token, scan.name, photos=1, parts=1, filesize_bytes=1 * MB)
            assert balance(token) == 99 * MB
            scan = scans.create_scan(token, scan.name, photos=1, parts=1, filesize_bytes=90 * MB)
            assert balance(token) == 10 * MB

    def test_granted_credit_is_not_lost_over_midnight(self, midnight):
        """100 GB granted became 98 GB, before the rule."""
        token = public(10 * MB)
        ledger.grant(token, 90 * MB)
        scan = new_scan(token, 2 * MB)
        midnight(token)
        scans.reset_scan_row(scan)
        assert balance(token) == 100 * MB

    def test_a_refund_after_midnight_gives_back_what_was_not_topped_up(self, midnight):
        token = public(10 * MB)
        ledger.grant(token, 90 * MB)  # 100
        scan = new_scan(token, 95 * MB)
        ledger.post(scan, 95 * MB)  # 5
        midnight(token)  # 10, of which 5 are topped up
        assert balance(token) == 10 * MB
        assert ledger.refund(scan) and balance(token) == 100 * MB

    def test_what_comes_back_is_taken_from_the_top_ups_in_their_order(self, midnight):
        token = public()
        first = new_scan(token, 60 * MB)
        midnight(token)  # 40 + 60
        second = new_scan(token, 70 * MB)
        midnight(token)  # 30 + 70
        ledger.void(first)  # without it the first night tops up nothing; the second one 70 as before
        assert balance(token) == 100 * MB
        ledger.void(second)
        assert balance(token) == 100 * MB and list(token.refills.order_by("pk").values_list("standing_bytes", flat=True)) == [
            100 * MB, 0, 0]

    def test_what_was_held_after_the_refill_comes_back_whole(self):
        token = public()
        ledger.grant(token, 20 * MB)
        scan = new_scan(token, 50 * MB)
        ledger.void(scan)
        assert balance(token) == 120 * MB


@pytest.mark.django_db
class TestTheDatabaseItself:
    def test_refuses_a_negative_balance(self):
        token = private()
        with pytest.raises(IntegrityError), transaction.atomic():
            Token.objects.filter(pk=token.pk).update(credit_bytes=-1)

    def test_refuses_a_second_end_of_a_hold(self):
        token = private()
        scan = new_scan(token)
        ledger.post(scan, 10 * MB)
        with pytest.raises(IntegrityError), transaction.atomic():
            LedgerEntry.objects.create(token=token, scan=scan, kind="void", amount_bytes=1, balance_bytes=1, key="void:other")

    def test_entries_are_neither_changed_nor_deleted(self):
        entry = private().entries.get()
        entry.amount_bytes = 7
        for attempt in (entry.save, entry.delete, LedgerEntry.objects.all().delete,
                        lambda: LedgerEntry.objects.update(amount_bytes=7)):
            with pytest.raises(LedgerError):
                attempt()

    def test_the_check_finds_a_credit_that_was_tampered_with(self):
        token = private()
        Token.objects.filter(pk=token.pk).update(credit_bytes=1)
        assert any(f"Token {token.pk}" in problem and "add up to 100000000" in problem
                   for problem in books.find_discrepancies([token]))

    def test_the_check_finds_a_tampered_entry_and_a_tampered_charge(self):
        token = private()
        scan = new_scan(token)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE openscan_ledgerentry SET amount_bytes = -1 WHERE scan_id = %s", [scan.pk])
        Scan.objects.filter(pk=scan.pk).update(charge=Scan.POSTED)
        problems = " ".join(books.find_discrepancies([token]))
        assert f"Token {token.pk}" in problems and f"Scan {scan.pk} is posted" in problems


def post_and_refund(scan: Scan) -> None:
    ledger.post(scan, 4 * MB)
    ledger.refund(scan)


def hammer(work: tuple) -> int:
    """One process of many on one token: creates, posts, voids and refunds. Returns how often credit ran out."""
    token_id, number = work
    token, refused = Token.objects.get(pk=token_id), 0
    for turn in range(6):
        try:
            scan = new_scan(token)
        except OpenScanError:
            refused += 1
            continue
        (ledger.void, lambda row: ledger.post(row, 4 * MB), post_and_refund)[(number + turn) % 3](scan)
        ledger.post(scan, 4 * MB)
    return refused


def test_eight_processes_leave_books_that_add_up(live_db, capsys):
    token = private(60 * MB)
    refused = sum(in_processes(hammer, [(token.pk, number) for number in range(8)]))
    posted = Scan.objects.filter(token=token, charge=Scan.POSTED).count()
    assert posted + refused > 0 and posted * 4 * MB + balance(token) == 60 * MB
    assert not Scan.objects.filter(token=token, charge=Scan.HELD).exists()
    call_command("openscan_check", "--json")
    assert json.loads(capsys.readouterr().out)["ok"] is True


def end_hold(work: tuple) -> bool:
    """Ends one scan's hold: by post in even processes, by void in odd ones."""
    scan_id, number = work
    scan = Scan.objects.get(pk=scan_id)
    return ledger.post(scan, 4 * MB) if number % 2 == 0 else ledger.void(scan)


def test_only_one_process_ends_a_hold(live_db):
    token = private()
    scan = new_scan(token)
    assert sum(in_processes(end_hold, [(scan.pk, number) for number in range(8)])) == 1
    scan.refresh_from_db()
    assert balance(token) == (96 * MB if scan.charge == Scan.POSTED else 100 * MB)


def fill_up(token_id: int) -> bool:
    return ledger.refill(Token.objects.get(pk=token_id), datetime.date(2099, 5, 1))


def test_only_one_process_tops_a_token_up(live_db):
    token = public()
    ledger.post(new_scan(token), 10 * MB)
    assert sum(in_processes(fill_up, [token.pk] * 8)) == 1
    assert balance(token) == 100 * MB
