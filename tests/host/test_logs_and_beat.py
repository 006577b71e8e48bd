"""`app_extensions/host`: secrets in logs, entries in WebODM's schedule, and the heartbeat."""
import io
import logging
import time

import pytest

from tests.support.waiting import until

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize("secret", [
    "GET /api/openscan/getToken?token=SECRETSECRET HTTP/1.1",
    "https://h/x?a=1&client_secret=SECRETSECRET&b=2",
    "callback?code=SECRETSECRET&state=SECRETSECRET",
    '{"access_token": "SECRETSECRET", "x": 1}',
    "{'refresh_token': 'SECRETSECRET'}",
    "Authorization: Bearer SECRETSECRETSECRET",
    "{'Authorization': 'Basic SECRETSECRET'}",
    "X-Tapis-Token: SECRETSECRET",
    "redis://:SECRETSECRET@127.0.0.1:6379/0",
    "https://user:SECRETSECRET@example.org/",
    "https://s3/x?X-Amz-Signature=SECRETSECRET&X-Amz-Date=1",
])
def test_secrets_are_masked(secret):
    from app_extensions.host.logs import mask

    assert "SECRET" not in mask(secret)


def test_json_web_tokens_are_masked_wherever_they_are():
    from app_extensions.host.logs import mask

    assert "eyJ" not in mask(f"got {JWT} from somewhere")


@pytest.mark.parametrize("text", [
    "Task worker.tasks.process_task[27320f61-5704-4077-a005-a103d073a79f] succeeded in 0.017s",
    "exit code=1, state=running, 3 tokens", "basic information on the bearer of bad news", "http://127.0.0.1:8000/x?page=2",
])
def test_other_text_stays(text):
    from app_extensions.host.logs import mask

    assert mask(text) == text


def test_every_logger_is_masked_arguments_and_tracebacks_too():
    from app_extensions.host import logs

    logs.install()
    logger, stream = logging.getLogger("somebody.else"), io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        logger.warning("asked %s", "https://h/?token=SECRETSECRET")
        try:
            raise ConnectionError("no answer from https://h/?jwt=SECRETSECRET")
        except ConnectionError:
            logger.exception("failed")
    finally:
        logger.removeHandler(handler)
    assert "SECRET" not in stream.getvalue()
    assert "ConnectionError: no answer from https://h/?jwt=********" in stream.getvalue()


def test_entries_are_added_to_webodms_schedule():
    from worker.celery import app

    from app_extensions.host.beat import add_periodic

    before = dict(app.conf.beat_schedule)
    try:
        add_periodic("test-entry", "some.task", 60)
        entry = app.conf.beat_schedule["test-entry"]
        assert (entry["task"], entry["schedule"], entry["options"]["expires"]) == ("some.task", 60, 54)
        assert before.items() <= app.conf.beat_schedule.items()
        assert {"process-pending-tasks", "app-extensions-heartbeat"} <= set(before)
    finally:
        app.conf.beat_schedule = before


def test_the_heartbeat_is_seen(stack):
    """Through the live worker and Redis."""
    from app_extensions.host import heartbeat

    before = time.time()
    heartbeat.note.delay()
    until(lambda: (heartbeat.last_beat_at() or 0) >= before)
    assert heartbeat.last_beat_at() <= time.time()
