"""Figures for monitoring and the health page, over live HTTP."""
import re
import socket
import threading
from pathlib import Path

import pytest
import requests

from tests.openscan.flow import send, wait_for
from tests.openscan.helpers import Rig, figures, own_gunicorn, private_token, put_part
from tests.openscan.make_sets import photos
from tests.support.waiting import until


def admin(stack) -> tuple:
    return stack.config["admin_user"], stack.config["admin_password"]


def test_figures_follow_what_happens(stack, live_db, unique):
    from app_extensions.openscan.accounts.tokens import create_token, default_owner
    from app_extensions.openscan.models import Scan

    url = f"{stack.address()}/api/plugins/openscan_cloud/metrics"
    before = figures(requests.get(url, auth=admin(stack), timeout=120).text)
    token, secret = create_token(kind="private", owner=default_owner(), mail=f"{unique}@example.org", forename="A", surname="B",
                                 credit_bytes=5_000_000)
    created = requests.get(f"{stack.address()}/api/openscan/createProject", auth=("openscan", "free"), timeout=120, params={
        "token": secret, "project": unique, "photos": 3, "parts": 1, "filesize": 1000})
    assert created.status_code == 200, created.text
    answer = requests.get(url, auth=admin(stack), timeout=120)
    after = figures(answer.text)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert after['openscan_scans{state="created"}'] >= before['openscan_scans{state="created"}'] + 1
    assert after['openscan_tokens{kind="private"}'] >= before.get('openscan_tokens{kind="private"}', 0) + 1
    assert secret not in answer.text and unique not in answer.text, "figures name nobody"
    for name in ("openscan_received_bytes_total", "tapis_sync_bytes_total", 'openscan_failures{cause="processing"}',
                 'openscan_oldest_seconds{stage="queue"}', 'tapis_jobs{kind="sync",state="running"}'):
        assert name in after
    assert {f'openscan_scans{{state="{state}"}}' for state, _ in Scan.STATES} <= set(after)


def test_what_came_in_never_sinks(stack, live_db, unique):
    """A counter that sinks counts as begun anew, and all of it as new traffic: a reset takes a scan's bytes, not the figure's."""
    url = f"{stack.address()}/api/plugins/openscan_cloud/metrics"
    rig = Rig(stack.address(), private_token()[1])
    before = figures(requests.get(url, auth=admin(stack), timeout=120).text)
    put_part(rig.create(unique, 3)[0], b"abc")

    def received() -> float:
        return figures(requests.get(url, auth=admin(stack), timeout=120).text)["openscan_received_bytes_total"]

    until(lambda: received() == before["openscan_received_bytes_total"] + 3, 60)
    assert rig.get("resetProject", project=unique).json() == {}
    assert received() == before["openscan_received_bytes_total"] + 3


@pytest.mark.django_db
def test_ten_thousand_scans_cost_as_many_questions_as_one():
    """Sums are the database's work: no figure reads rows one by one."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from django.utils import timezone

    from app_extensions.openscan.models import Scan
    from app_extensions.shared import metrics

    token, _ = private_token()
    with CaptureQueriesContext(connection) as few:
        before = figures(metrics.render())
    now = timezone.now()
    states = [state for state, _ in Scan.STATES]
    Scan.objects.bulk_create([
        Scan(token=token, name=state, state=state, photos=9, parts_count=1, declared_bytes=9, upload_nonce="x", links_expire_at=now,
             started_at=now, approved_at=now, released_at=now, finished_at=now, images_count=9) for state in states])
    columns = [field.column for field in Scan._meta.concrete_fields if field.column != "id"]
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO openscan_scan ({', '.join(columns)}) SELECT "
                       + ", ".join("name || n" if column == "name" else column for column in columns)
                       + " FROM openscan_scan, generate_series(1, %s) n WHERE token_id = %s", [10_000 // len(states), token.pk])
    count = Scan.objects.filter(token=token).count()
    with CaptureQueriesContext(connection) as many:
        after = figures(metrics.render())
    assert len(many) == len(few) < 40
    assert count >= 10_000 and after["openscan_photos_total"] == before["openscan_photos_total"] + 9 * count


def test_figures_are_for_admins(stack, live_db, unique):
    from django.contrib.auth.models import User

    User.objects.create_user(unique, password=unique)
    for path in ("/api/plugins/openscan_cloud/metrics", "/api/openscan/metrics"):
        url = stack.address() + path
        assert requests.get(url, timeout=120).status_code == 401
        assert requests.get(url, auth=("openscan", "free"), timeout=120).status_code == 401, "the rigs' pair opens nothing"
        assert requests.get(url, auth=(unique, unique), timeout=120).status_code == 403
        assert requests.get(url, auth=(unique, "wrong"), timeout=120).status_code == 401
        assert requests.get(url, auth=admin(stack), timeout=120).status_code == 200


def test_health(stack, live_db):
    from app.models import Plugin

    url = f"{stack.address()}/api/openscan/health"
    answer = requests.get(url, timeout=120)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "scheme": "http"})
    assert "no-store" in answer.headers["Cache-Control"]
    Plugin.objects.filter(name="openscan_cloud").update(enabled=False)
    try:
        assert requests.get(url, timeout=120).status_code == 503
        for path in ("/api/plugins/openscan_cloud/metrics", "/api/openscan/metrics"):
            assert requests.get(stack.address() + path, auth=admin(stack), timeout=120).status_code == 404
    finally:
        Plugin.objects.filter(name="openscan_cloud").update(enabled=True)


def test_health_with_a_connection_that_died_is_an_answer(stack, live_db):
    from django.db import connection

    from app_extensions.openscan.upkeep.health import health

    connection.ensure_connection()
    connection.connection.close()  # what the driver then says is no DatabaseError
    assert health("openscan_cloud") == {"status": "unavailable", "problems": ["database"]}
    connection.close()
    assert health("openscan_cloud") == {"status": "ok"}


def test_health_with_a_full_disk_serves_on(stack, live_db, settings):
    """Downloads go on. With the broker away: test_other_settings."""
    from app_extensions.openscan.upkeep.health import health

    assert health("openscan_cloud") == {"status": "ok"}
    settings.OPENSCAN_FREE_RESERVE = "900TB"
    assert health("openscan_cloud") == {"status": "degraded", "problems": ["disk"]}


def test_health_without_its_storage_or_database_sends_nobody_here(stack, live_db, tmp_path):
    real = Path(stack.environment()["WO_DATABASE_HOST"]) / ".s.PGSQL.5432"
    door = tmp_path / real.name
    door.symlink_to(real)
    with own_gunicorn(stack, "web-bare", workers=1, WO_DATABASE_HOST=str(tmp_path), WO_OPENSCAN_STORAGE_DIR="/proc/nowhere") as web:
        url = f"{web.address}/api/openscan/health"
        answer = requests.get(url, timeout=30)
        assert (answer.status_code, answer.json()["problems"]) == (503, ["storage"])
        door.unlink()
        answer = requests.get(url, timeout=30)
        assert (answer.status_code, answer.json()["status"], answer.json()["problems"]) == (503, "unavailable", ["database", "storage"])


def test_bytes_sent_are_counted_over_all_processes_as_far_as_they_went(stack, live_db, rig):
    from app_extensions.host import counters

    project = send(rig, photos(4))
    info = wait_for(rig, project, "processing done")
    before = counters.counted()
    log = stack.log_path("web").stat().st_size
    whole = requests.get(info["dlink"], timeout=30).content
    for _ in range(5):
        assert len(requests.get(info["dlink"], headers={"Range": "bytes=10-109"}, timeout=30).content) == 100
    requests.head(info["dlink"], timeout=30)
    until(lambda: counters.counted()["openscan_downloads"] == before.get("openscan_downloads", 0) + 6, 30)
    assert counters.counted()["openscan_sent_bytes"] == before.get("openscan_sent_bytes", 0) + len(whole) + 500
    page = figures(requests.get(f"{stack.address()}/api/plugins/openscan_cloud/metrics", auth=admin(stack), timeout=30).text)
    assert page["openscan_sent_bytes_total"] == before.get("openscan_sent_bytes", 0) + len(whole) + 500
    with stack.log_path("web").open("rb") as lines:
        lines.seek(log)
        text = lines.read().decode()
    assert "Error" not in text and "Traceback" not in text, text
    assert re.search(rf"{len(whole)} of {len(whole)} bytes of a result sent request=[0-9a-f]+ scan=\d+$", text, re.M)


def test_a_download_that_breaks_off_counts_what_was_sent(live_db, tmp_path):
    """As gunicorn sends: the kernel's sendfile over a socket whose other end goes away."""
    from plugins.openscan_cloud.views.results import FilePiece

    path = tmp_path / "result.zip"
    path.write_bytes(b"x" * 8_000_000)
    ours, theirs = socket.socketpair()
    sent: list = []
    piece = FilePiece(open(path, "rb", buffering=0), 1000, 7_999_999, sent.append)  # noqa: SIM115
    reader = threading.Thread(target=lambda: (theirs.recv(100_000), theirs.close()))
    reader.start()
    with pytest.raises(OSError):
        ours.sendfile(piece, offset=1000, count=7_999_000)
    reader.join()
    piece.close()
    piece.close()
    assert len(sent) == 1 and 0 < sent[0] < 7_999_000
    whole = FilePiece(open(path, "rb", buffering=0), 5, 104, sent.append)  # noqa: SIM115
    assert whole.read() == b"x" * 100
    whole.close()
    assert sent[1] == 100


def test_counting_goes_on_while_redis_is_away(live_db, settings, monkeypatch, unique):
    from app_extensions.host import counters

    name = f"test_{unique}"
    monkeypatch.setattr(counters, "_connection", None)
    settings.CELERY_BROKER_URL, kept = "redis://127.0.0.1:1/0", settings.CELERY_BROKER_URL
    counters.count(**{name: 5})
    assert counters.counted() is None and not counters.answers()
    settings.CELERY_BROKER_URL = kept
    monkeypatch.setattr(counters, "_connection", None)
    counters.count(**{name: 2})
    assert counters.counted()[name] == 7 and counters.answers()


def test_labels_are_escaped(monkeypatch):
    from app_extensions.shared import metrics

    odd = metrics.Metric("odd", 'a "b"\nc').add(1.5, name='x"\\\n')
    monkeypatch.setattr(metrics, "_collectors", {"test": lambda: [odd]})
    assert metrics.render() == '# HELP odd a "b"\\nc\n# TYPE odd gauge\nodd{name="x\\"\\\\\\n"} 1.5\n'
