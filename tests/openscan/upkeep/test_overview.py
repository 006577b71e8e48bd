"""What the pages show is read for all scans at once, however many there are."""
import re

from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import projects
from app_extensions.openscan.upkeep import overview
from tests.openscan.helpers import new_scan, private_token


def queries(look) -> int:
    """How many there are, save those for a task's project: WebODM's Task asks for it whenever one is read."""
    with CaptureQueriesContext(connection) as seen:
        look()
    return sum('FROM "app_project" WHERE "app_project"."id" =' not in query["sql"] for query in seen.captured_queries)


def add_tokens(count: int, owner) -> None:
    """Tokens with a scan of each kind, those that have one with their WebODM task."""
    for _ in range(count):
        token, _ = private_token(10**9, owner=owner)
        for state in (Scan.CREATED, Scan.APPROVED, Scan.RELEASED, Scan.FAILED):
            scan = new_scan(token, 1000)
            if state != Scan.CREATED:
                projects.make_waiting_task(scan)
            Scan.objects.filter(pk=scan.pk).update(
                state=state, started_at=timezone.now(), released_at=None if state == Scan.APPROVED else timezone.now())


def operator():
    """A user of this test's own tokens: a superuser would see those that live tests left, too."""
    return get_user_model().objects.create_user("boss", "boss@example.org", "pass")


def test_the_operators_page_asks_as_much_for_many_scans_as_for_few(db):
    boss = operator()
    add_tokens(1, boss)
    few = queries(lambda: overview.for_operator(boss))
    add_tokens(8, boss)
    seen = overview.for_operator(boss)
    assert (len(seen["waiting"]), len(seen["ended"]), len(seen["tokens"])) == (9, 9, 9)
    places = [int(re.match(r"Place (\d+) in the queue\.", row.message)[1]) for row in seen["waiting"]]
    assert places == list(range(places[0], places[0] + 9))
    assert all(row.task_url for row in seen["waiting"] + seen["running"] + seen["ended"])
    assert queries(lambda: overview.for_operator(boss)) <= few + 2


def test_tokens_in_use_stand_before_unused_ones_and_revoked_ones_last(db):
    boss = operator()
    revoked, used, unused = (private_token(1, owner=boss)[0] for _ in range(3))
    for token in (used, revoked):
        tokens.note_use(token)
    tokens.revoke(revoked)
    assert [row.token for row in overview.for_operator(boss)["tokens"]] == [used, unused, revoked]


def test_the_makers_page_too(db):
    boss = get_user_model().objects.create_superuser("boss", "boss@example.org", "pass")
    token, _ = private_token(10**9, owner=boss)
    new_scan(token, 1000)
    few = queries(lambda: overview.for_token(token, "http://h"))
    for _ in range(8):
        projects.make_waiting_task(new_scan(token, 1000))
    token.scans.update(state=Scan.APPROVED, started_at=timezone.now())
    assert len(overview.for_token(token, "http://h")["scans"]) == 9
    assert queries(lambda: overview.for_token(token, "http://h")) <= few + 12  # the tasks, the queue, and what they wait for
