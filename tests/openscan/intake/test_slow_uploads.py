"""Rigs on slow lines: their uploads hold nobody else up, and a process takes a bounded number of them."""
import contextlib

import pytest

from app_extensions.openscan.models import Scan
from tests.openscan.helpers import RawConnection, Rig, files_being_received, own_gunicorn, private_token, put_part
from tests.support.waiting import until

SLOW = 6  # twice as many as the live web server has processes


@contextlib.contextmanager
def half_sent(links: "list[str]"):
    """An upload of six bytes to each link, three of them sent."""
    connections = [RawConnection(link, Content_Length="6") for link in links]
    try:
        for connection in connections:
            connection.send(b"abc")
        yield connections
    finally:
        for connection in connections:
            connection.close()


def put_with_patience(link: str, body: bytes) -> int:
    """The answer once there is a place: the server notices a cut connection a moment later than the client, and rigs try again."""
    return until(lambda: (status := put_part(link, body).status_code) != 503 and status)


@pytest.fixture(scope="module")
def narrow_web(stack):
    """One process that takes two transfers at a time."""
    with own_gunicorn(stack, "web-narrow", workers=1, WO_OPENSCAN_TRANSFERS_PER_PROCESS="2") as service:
        yield service


def test_more_slow_uploads_than_processes_hold_nobody_up(rig, unique):
    with half_sent(rig.create(unique, 6 * SLOW, parts=SLOW)) as connections:
        for _ in range(2 * SLOW):
            assert rig.info(unique)["status"] == "created"
        for connection in connections:
            connection.send(b"def")
        assert [connection.status() for connection in connections] == [200] * SLOW
    assert rig.info(unique)["missing_parts"] == []


def test_beyond_the_bound_an_upload_is_turned_away_at_once_and_can_be_sent_again(narrow_web, live_db, unique):
    rig = Rig(narrow_web.address, private_token()[1])
    links = rig.create(unique, 18, parts=3)
    with half_sent(links[:2]) as connections:
        scan = Scan.objects.get(name=unique)
        until(lambda: len(files_being_received(scan)) == 2)
        third = RawConnection(links[2], Content_Length="6")
        assert third.status() == 503, "at once: it has not sent a byte"
        third.close()
        assert rig.info(unique)["status"] == "created"
        answer = rig.session.post(links[2], data=b"", headers={"Content-Length": "6"}, timeout=120)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60") and "try again" in answer.json()["error"]
        for connection in connections:
            connection.send(b"def")
        assert [connection.status() for connection in connections] == [200, 200]
    assert put_with_patience(links[2], b"ghijkl") == 200
    assert rig.info(unique)["missing_parts"] == []


def test_refused_and_broken_uploads_give_their_place_back(narrow_web, live_db, unique):
    rig = Rig(narrow_web.address, private_token()[1])
    link, = rig.create(unique, 6)
    for _ in range(3):
        with half_sent([link]):
            pass  # the connection is cut
        assert put_with_patience(link, b"") == 400
        assert put_with_patience(narrow_web.address + "/api/openscan/u/1.1.1.nonsense", b"abc") == 404
    assert put_with_patience(link, b"abcdef") == 200
