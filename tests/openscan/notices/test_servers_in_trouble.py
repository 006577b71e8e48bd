"""Mail servers that hang, and sites without one: no worker is held, and no token is lost."""
import socket
import threading
from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from app_extensions.openscan.accounts import token_requests
from app_extensions.openscan.models import OutgoingMail
from app_extensions.shared import mail
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("live_db")


@contextmanager
def silent_server():
    """Takes connections and says nothing. Gives its port and the list of connections that it took."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1], taken
        server.shutdown(socket.SHUT_RDWR)
    for each in taken:
        each.close()


@pytest.fixture
def smtp(settings):
    """This process sends by SMTP, to a port that a test names. Mail of other tests does not wait."""
    OutgoingMail.objects.filter(state=OutgoingMail.WAITING).update(next_attempt_at=timezone.now() + timezone.timedelta(days=1))
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1"
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS, settings.EMAIL_TIMEOUT = False, 1
    return settings


def waiting(count: int) -> "list[OutgoingMail]":
    return [mail.enqueue(OutgoingMail, kind="test", to=["ada@example.org"], subject="Hello", text="x") for _ in range(count)]


def test_a_server_that_hangs_costs_one_time_limit_and_not_one_a_mail(smtp):
    rows = waiting(5)
    with silent_server() as (smtp.EMAIL_PORT, taken):
        assert mail.deliver_due(OutgoingMail) == 0
        assert len(taken) == 1
    attempts = sorted(OutgoingMail.objects.filter(pk__in=[row.pk for row in rows]).values_list("attempts", flat=True))
    assert attempts == [0, 0, 0, 0, 1]


def test_one_delivery_at_a_time(smtp):
    """A second job finds the first one at work, and does not sit down beside it."""
    waiting(2)
    with silent_server() as (smtp.EMAIL_PORT, taken):
        results = []

        def deliver() -> None:
            try:
                results.append(mail.deliver_due(OutgoingMail))
            finally:
                connections.close_all()

        smtp.EMAIL_TIMEOUT = 20
        first = threading.Thread(target=deliver)
        first.start()
        until(lambda: taken)
        assert mail.deliver_due(OutgoingMail) == 0 and len(taken) == 1
        taken[0].close()
        first.join()
    assert results == [0]


@pytest.mark.parametrize("backend", ["console", "dummy", "filebased"])
def test_a_backend_that_reaches_nobody_is_not_working_mail(settings, backend):
    settings.EMAIL_BACKEND = f"django.core.mail.backends.{backend}.EmailBackend"
    assert not mail.is_working()


def test_mail_works_where_a_server_answers(stack, smtp, monkeypatch):
    smtp.EMAIL_PORT = stack.config["mail_port"]
    assert mail.is_working()
    monkeypatch.setattr(mail, "CHECK_SECONDS", 0.5)
    with silent_server() as (smtp.EMAIL_PORT, _):
        assert not mail.is_working()
    assert not mail.is_working(), "nobody listens there any more"


def test_the_command_shows_an_approved_token_where_mail_does_not_work(stack, smtp, capsys, unique):
    for number, port, shown in ((1, 1, True), (2, stack.config["mail_port"], False)):
        token_requests.request_token(f"{number}-{unique}@example.org", "Grace", "Hopper", f"{unique}-{number}")
        smtp.EMAIL_PORT = port
        call_command("openscan_token", "approve", f"{number}-{unique}@example.org")
        assert ("the only time the token is shown" in capsys.readouterr().out) is shown
