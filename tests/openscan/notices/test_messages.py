"""Mail to owners, admins and new holders of tokens, through a real SMTP server."""
import email
import email.policy
import json
import re
import socket

import pytest
import requests
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from django.db import connection, transaction
from django.utils import timezone

from app_extensions.openscan.accounts import ledger, token_requests, tokens
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import OutgoingMail, Scan, TokenRequest
from app_extensions.openscan.notices import messages
from app_extensions.shared import mail
from tests.openscan.flow import poke, send, wait_for
from tests.openscan.helpers import Rig, private_token, public_token
from tests.openscan.make_sets import jpeg, photos
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("live_db")


class Inbox:
    """Keeps what an SMTP server is handed; refuses as told."""

    def __init__(self):
        self.messages, self.refuse_data, self.refuse_recipient = [], "", ""

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.refuse_recipient:
            return self.refuse_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.refuse_data:
            return self.refuse_data
        self.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def subject_of(message):
    return message["Subject"].strip()  # unfolding leaves a space where a long one begins


def text_of(message):
    return message.get_body(("plain",)).get_content()


def html_of(message):
    return message.get_body(("html",)).get_content()


@pytest.fixture
def inbox(settings, live_db):
    """An SMTP server without login, to which this process sends; mail that other tests left waits no more."""
    OutgoingMail.objects.filter(state=OutgoingMail.WAITING).update(next_attempt_at=timezone.now() + timezone.timedelta(days=1))
    kept = Inbox()
    controller = Controller(kept, hostname="127.0.0.1", port=free_port())
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", controller.port, False
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.DEFAULT_FROM_EMAIL = "OpenScan <scan@example.org>"
    yield kept
    controller.stop()


@pytest.fixture
def alone(monkeypatch):
    """The live worker is not told of new mail, so that this process delivers it."""
    monkeypatch.setattr(messages, "dispatch_on_commit", lambda *_: None)


@pytest.fixture
def told(live_db):
    """Nobody waits to be told of, and nobody was told of lately."""
    TokenRequest.objects.update(told_at=timezone.now() - timezone.timedelta(days=1))


def new_mail(**fields):
    return mail.enqueue(OutgoingMail, **{"kind": "test", "to": ["ada@example.org"], "subject": "Hello",
                                         "text": "secret-word", "html": "<p>secret-word</p>", "reply_to": "help@example.org", **fields})


def due(row):
    OutgoingMail.objects.filter(pk=row.pk).update(next_attempt_at=timezone.now())


def test_a_mail_is_plain_and_html_with_a_reply_address(inbox):
    row = new_mail()
    assert mail.deliver_due(OutgoingMail) == 1
    message, = inbox.messages
    assert message["From"] == "OpenScan <scan@example.org>" and message["To"] == "ada@example.org"
    assert message["Reply-To"] == "help@example.org" and message["Message-ID"] == row.message_id
    assert message.get_content_type() == "multipart/alternative"
    assert text_of(message).strip() == "secret-word" and "<p>secret-word</p>" in html_of(message)
    row.refresh_from_db()
    assert row.state == "sent" and row.sent_at


def test_waiting_mail_is_encrypted_and_wiped_on_delivery(inbox):
    row = new_mail()

    def stored():
        with connection.cursor() as cursor:
            cursor.execute("SELECT row_to_json(mail)::text FROM openscan_outgoingmail mail WHERE id = %s", [row.pk])
            return cursor.fetchone()[0]

    assert "secret-word" not in stored() and "ada@" not in stored() and "fernet1:" in stored()
    mail.deliver_due(OutgoingMail)
    assert json.loads(stored())["payload"] == "" and "fernet1:" not in stored()


def test_a_server_that_is_away_is_tried_again_with_growing_waits(inbox, settings):
    settings.EMAIL_PORT = free_port()
    row, waits = new_mail(), []
    for _ in range(7):
        due(row)
        assert mail.deliver_due(OutgoingMail) == 0
        row.refresh_from_db()
        waits.append(round((row.next_attempt_at - timezone.now()).total_seconds() / 60))
    assert waits == [1, 5, 15, 60, 180, 360, 360]
    assert row.state == "waiting" and row.attempts == 7 and "ConnectionRefusedError" in row.last_error
    assert mail.deliver_due(OutgoingMail) == 0  # not before its time
    assert OutgoingMail.objects.get(pk=row.pk).attempts == 7


def test_a_server_that_comes_back_gets_it(inbox):
    inbox.refuse_data = "451 greylisted, come back later"
    row = new_mail()
    assert mail.deliver_due(OutgoingMail) == 0 and not inbox.messages
    inbox.refuse_data = ""
    due(row)
    assert mail.deliver_due(OutgoingMail) == 1 and len(inbox.messages) == 1


def test_a_server_in_trouble_is_no_final_no(inbox):
    inbox.refuse_data = "500 Error: (FileNotFoundError) no such directory"
    row = new_mail()
    assert mail.deliver_due(OutgoingMail) == 0
    row.refresh_from_db()
    assert row.state == "waiting" and row.payload


def test_settings_that_django_refuses_hold_up_no_other_mail(inbox, settings):
    """Each is put off as with a server that is away, and goes out once the settings are put right."""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = True
    rows = [new_mail(), new_mail()]
    assert mail.deliver_due(OutgoingMail) == 0
    for row in rows:
        row.refresh_from_db()
        assert (row.state, row.attempts, row.last_error) == ("waiting", 1, "ValueError")
        due(row)
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    assert mail.deliver_due(OutgoingMail) == 2


@pytest.mark.parametrize("where", ["refuse_data", "refuse_recipient"])
def test_a_final_no_ends_it_and_wipes_it(inbox, where):
    setattr(inbox, where, "550 no such user ada@example.org")
    row = new_mail()
    assert mail.deliver_due(OutgoingMail) == 0
    row.refresh_from_db()
    assert row.state == "given up" and row.payload == "" and "550" in row.last_error and "ada@" not in row.last_error


def test_it_is_given_up_in_the_end(inbox, settings):
    settings.EMAIL_PORT = free_port()
    row = new_mail()
    OutgoingMail.objects.filter(pk=row.pk).update(attempts=mail.MAX_ATTEMPTS - 1)
    mail.deliver_due(OutgoingMail)
    row.refresh_from_db()
    assert row.state == "given up" and row.payload == ""


def test_a_sender_killed_in_the_middle_loses_nothing(inbox, monkeypatch):
    row = new_mail()
    monkeypatch.setattr(mail, "_send", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mail.deliver_due(OutgoingMail)
    monkeypatch.undo()
    row.refresh_from_db()
    assert row.state == "waiting" and row.payload
    assert mail.deliver_due(OutgoingMail) == 0  # claimed for a while
    due(row)
    assert mail.deliver_due(OutgoingMail) == 1
    assert inbox.messages[0]["Message-ID"] == row.message_id


def test_two_senders_never_send_the_same_mail(inbox):
    from tests.openscan.helpers import in_processes

    rows = [new_mail(subject=f"Hello {number}") for number in range(12)]
    assert sum(in_processes(_deliver, [0] * 4)) == 12
    subjects = [message["Subject"] for message in inbox.messages]
    assert sorted(subjects) == sorted(f"Hello {number}" for number in range(12))
    assert {OutgoingMail.objects.get(pk=row.pk).state for row in rows} == {"sent"}


def _deliver(_):
    return mail.deliver_due(OutgoingMail)


def test_a_server_with_login(settings, live_db):
    OutgoingMail.objects.filter(state=OutgoingMail.WAITING).update(next_attempt_at=timezone.now() + timezone.timedelta(days=1))
    kept = Inbox()

    def check(server, session, envelope, mechanism, data):
        return AuthResult(success=data.login == b"scan" and data.password == b"right", handled=False)

    controller = Controller(kept, hostname="127.0.0.1", port=free_port(), authenticator=check, auth_required=True,
                            auth_require_tls=False)
    controller.start()
    try:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", controller.port, False
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "scan", "wrong"
        row = new_mail()
        assert mail.deliver_due(OutgoingMail) == 0
        row.refresh_from_db()
        assert row.state == "waiting" and "SMTP" in row.last_error  # our own login is wrong: not the mail's end
        settings.EMAIL_HOST_PASSWORD = "right"
        due(row)
        assert mail.deliver_due(OutgoingMail) == 1 and len(kept.messages) == 1
    finally:
        controller.stop()


def test_headers_cannot_be_smuggled_in(live_db):
    with pytest.raises(ValueError, match="line break"):
        new_mail(subject="Hello\nBcc: everybody@example.org")
    with pytest.raises(ValueError, match="recipient"):
        new_mail(to=[])


def test_done_goes_to_a_private_tokens_person_with_the_link(inbox, alone, completed, settings):
    from app_extensions.openscan.processing import finish

    settings.OPENSCAN_SUPPORT_MAIL, settings.OPENSCAN_PUBLIC_URL = "help@example.org", "https://scan.example.org"
    scan = completed(name="Vase <1> & cup")
    finish.finish(scan.pk)
    messages.deliver()
    message, = inbox.messages
    assert message["To"] == "ada@example.org" and message["Reply-To"] == "help@example.org"
    assert subject_of(message) == "Your 3D model “Vase <1> & cup” is ready"
    link = re.search(r"https://scan\.example\.org/api/openscan/download/\S+\.zip", text_of(message)).group(0)
    assert f'href="{link}"' in html_of(message)
    assert 'model "Vase <1> & cup"' in text_of(message) and "Vase &lt;1&gt; &amp; cup" in html_of(message)
    assert "UTC" in text_of(message)
    finish.finish(scan.pk)
    messages.deliver()
    assert len(inbox.messages) == 1


def test_failed_says_why_and_what_became_of_the_credit(inbox, alone):
    from app_extensions.openscan.ingest import run
    from tests.openscan.flow import started_scan, without_nodes
    from tests.openscan.make_sets import make_zip

    token, _ = private_token(owner=without_nodes())
    scan = started_scan(token, [make_zip({"1.jpg": jpeg(1), "<fake>.jpg": b"no"})])
    run.ingest(scan.pk)
    messages.deliver()
    message, = inbox.messages
    assert "could not be made" in message["Subject"]
    assert "“<fake>.jpg” is not a photo" in text_of(message) and "&lt;fake&gt;.jpg" in html_of(message)
    assert "the credit is back" in text_of(message)


def test_each_run_that_fails_is_told_once_though_its_words_are_the_same(inbox, alone, stack, completed):
    """Somebody restarts the task in WebODM after a failure, and its owner waits for word of this run as of the first one."""
    from app_extensions.openscan.processing import finish
    from tests.openscan.flow import task_of

    scan = completed(name="Vase")
    with transaction.atomic():
        ledger.post(scan)
    task = task_of(scan)
    web = requests.Session()
    web.auth = (stack.config["admin_user"], stack.config["admin_password"])
    for run in (1, 2, 3):
        type(task).objects.filter(pk=task.pk).update(status=30, last_error="out of memory", pending_action=None)
        for _ in range(3):
            finish.finish(scan.pk)
            messages.deliver()
        assert len(inbox.messages) == run and "ran out of memory" in text_of(inbox.messages[-1])
        scan.refresh_from_db()
        assert scan.state == Scan.FAILED and scan.charge == Scan.REFUNDED
        answer = web.post(f"{stack.address()}/api/projects/{task.project_id}/tasks/{task.pk}/restart/", timeout=60)
        assert answer.status_code == 200, answer.text
        scan.refresh_from_db()
        assert (scan.state, scan.error) == (Scan.RELEASED, "")
        until(lambda: poke("release_queue") or task_of(scan).pending_action is None, every=0.4, says="the worker took the restart up")


def test_public_tokens_get_no_mail(inbox, alone):
    from app_extensions.openscan.ingest import run
    from tests.openscan.flow import started_scan, without_nodes

    token, _ = public_token(owner=without_nodes())
    scan = started_scan(token, [b"no archive"])
    run.ingest(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.FAILED
    messages.deliver()
    assert not inbox.messages


def test_admins_are_told_of_requests_and_can_answer_the_person(inbox, alone, told, settings, unique):
    settings.OPENSCAN_ADMIN_MAILS = "root@example.org, second@example.org"
    address = f"grace-{unique}@example.org"
    token_requests.request_token(address, "Grace", "Hopper", unique)
    token_requests.request_token(address, "Grace", "Hopper", unique)
    assert messages.tell_of_requests() == 1
    messages.deliver()
    message, = inbox.messages
    assert message["To"] == "root@example.org, second@example.org" and message["Reply-To"] == address
    assert "Grace Hopper" in message["Subject"] and "/admin/openscan/tokenrequest/" in text_of(message)


def test_a_flood_of_requests_is_one_email_an_hour(inbox, alone, told, settings, unique):
    settings.OPENSCAN_ADMIN_MAILS = "root@example.org"
    ask = [f"grace-{number}-{unique}@example.org" for number in range(25)]
    token_requests.request_token(ask[0], "Grace", "Hopper", f"{unique}-0")
    assert messages.tell_of_requests() == 1, "the first one is reported at once"
    for number, address in enumerate(ask[1:], 1):
        token_requests.request_token(address, "Grace", "Hopper", f"{unique}-{number}")
        assert messages.tell_of_requests() == 0
    TokenRequest.objects.filter(mail=ask[0]).update(told_at=timezone.now() - timezone.timedelta(minutes=61))
    assert messages.tell_of_requests() == 24 and messages.tell_of_requests() == 0
    messages.deliver()
    first, second = inbox.messages
    assert second["Subject"] == "24 OpenScan tokens requested" and second["Reply-To"] is None
    assert text_of(second).count("asks for a private OpenScan token") == 20 and "And 4 more." in text_of(second)
    assert html_of(second).count("asks for a private OpenScan token") == 20


def test_without_a_setting_the_administrators_of_webodm_are_told(inbox, alone, told, unique):
    token_requests.request_token(f"grace-{unique}@example.org", "Grace", "Hopper", unique)
    messages.tell_of_requests()
    messages.deliver()
    assert "admin@sandbox.test" in inbox.messages[0]["To"]


def test_the_mail_about_a_request_names_no_address_that_its_sender_could_choose(inbox, alone, told, settings, stack, unique):
    """requestToken is open to everybody who knows the rigs' pair, and admins log in where the mail leads."""
    settings.OPENSCAN_PUBLIC_URL = ""
    token_requests.request_token(f"grace-{unique}@example.org", "Grace", "Hopper", unique)
    messages.tell_of_requests()
    messages.deliver()
    for body in (text_of(inbox.messages[0]), html_of(inbox.messages[0])):
        assert "under OpenScan Cloud, Token requests" in body and "/admin/" not in body and "href" not in body


def test_an_approved_token_is_mailed_once(inbox, alone, settings, unique):
    settings.OPENSCAN_ADMIN_MAILS, settings.OPENSCAN_PUBLIC_URL = "root@example.org", "https://scan.example.org"
    address = f"alan-{unique}@example.org"
    token_requests.request_token(address, "Alan", "Turing", unique)
    request = TokenRequest.objects.get(mail=address)
    _, text = token_requests.approve(request)
    with pytest.raises(tokens.OpenScanError):
        token_requests.approve(request)
    for _ in range(3):
        messages.deliver()
    message, = (message for message in inbox.messages if message["To"] == address)
    assert text in text_of(message) and text in html_of(message)
    assert "https://scan.example.org/api/openscan" in text_of(message)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM openscan_outgoingmail mail WHERE row_to_json(mail)::text LIKE %s", [f"%{text}%"])
        assert cursor.fetchone()[0] == 0


def mails_to(stack, address):
    """What the stack's own SMTP server got for an address."""
    found = []
    for folder in ("new", "cur"):
        directory = stack.mail_dir / folder
        for path in directory.iterdir() if directory.is_dir() else ():
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if message["To"] == address:
                found.append(message)
    return found


def test_the_whole_way_by_the_live_worker(stack, unique):
    address = f"maker-{unique}@example.org"
    token, text = tokens.create_token(forename="Mae", surname="Ker", mail=address, credit_bytes=10**9)
    rig = Rig(stack.address(), text)
    good = send(rig, photos(3), project=f"good {unique}")
    wait_for(rig, good, "processing done")
    bad = send(rig, {"x.jpg": b"no"}, project=f"bad {unique}")
    wait_for(rig, bad, "processing failed")
    messages = until(lambda: poke("deliver_mails") or (lambda got: got if len(got) >= 2 else None)(mails_to(stack, address)), every=0.4)
    assert sorted(subject_of(message) for message in messages) == [
        f"Your 3D model “bad {unique}” could not be made", f"Your 3D model “good {unique}” is ready"]
    ready = next(message for message in messages if "ready" in message["Subject"])
    assert rig.info(good)["dlink"] in text_of(ready)
    for message in messages:
        assert text not in message.as_string()


def test_nothing_of_a_mail_reaches_the_log(inbox, caplog):
    inbox.refuse_data = "550 5.1.1 ada@example.org unknown secret-word"
    new_mail()
    mail.deliver_due(OutgoingMail)
    assert "ada@" not in caplog.text and "secret-word" not in caplog.text


def test_names_with_control_characters_never_become_projects():
    """The subject carries the name; a line break in it would start another header."""
    from app_extensions.openscan.errors import OpenScanError

    token, _ = private_token()
    with pytest.raises(OpenScanError):
        scans.create_scan(token, "x\r\nBcc: a@b.c", photos=1, parts=1, filesize_bytes=10)
