"""Outgoing mail that survives restarts: a row an app's table, sent by a Celery job, tried again with growing waits.

An app makes the abstract model its own, so that neither app needs the other::

    class OutgoingMail(AbstractOutgoingMail):
        class Meta(AbstractOutgoingMail.Meta):
            abstract = False

It calls ``enqueue(OutgoingMail, …)`` in the transaction of what the mail tells about (both are kept or neither), runs
``deliver_due(OutgoingMail)`` in a short Celery job after the commit, and again every minute for what is due then.

Who it goes to and what it says are encrypted while it waits and wiped on delivery: a mail may carry a token. Delivery
is at least once, as SMTP cannot do better: a program killed between the server's "250" and its own commit sends again,
with the same Message-ID, by which mail programs know the copy.
"""
import json
import logging
import smtplib
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import Any, Optional

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import connection, models, transaction
from django.utils import timezone

from .crypto import EncryptedTextField

logger = logging.getLogger("app.logger")

#: Minutes until the next attempt, after the first, second … failure; then the last one again.
WAITS_MINUTES = (1, 5, 15, 60, 180, 360)
#: 1 + 5 + 15 + 60 + 180 minutes, then every six hours: about four days, as mail servers do it.
MAX_ATTEMPTS = 20
#: A mail whose sender was killed is free again after this; an SMTP conversation never takes so long (see TIMEOUT).
CLAIM_SECONDS = 600
CHECK_SECONDS = 5
#: Django's backends that hand mail over to nobody.
_TO_NOBODY = tuple(f"django.core.mail.backends.{name}" for name in ("console", "dummy", "filebased"))
#: How long one step of an SMTP conversation may take, and how long after its start a delivery begins with another mail.
TIMEOUT_SECONDS = 30
MOST_SECONDS = 60
_LOCK_GROUP = 0x4D41494C  # "MAIL": the first number of an advisory lock, the second one stands for the table


class AbstractOutgoingMail(models.Model):
    """One message to one person."""

    WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"
    STATES = tuple((state, state) for state in (WAITING, SENT, GIVEN_UP))

    kind = models.CharField(max_length=40, help_text="What it tells, e.g. “done”")
    state = models.CharField(max_length=8, choices=STATES, default=WAITING)
    payload = EncryptedTextField(blank=True, editable=False)
    message_id = models.CharField(max_length=120, editable=False)
    attempts = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now, db_index=True)
    last_error = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind} ({self.state})"


def enqueue(
    model: type[AbstractOutgoingMail], *, kind: str, to: Sequence[str], subject: str, text: str, html: str = "",
    reply_to: str = "",
) -> AbstractOutgoingMail:
    """Store a message for delivery.

    :param model: the calling app's model
    :param to: addresses; at least one
    :param html: the same in HTML, or empty
    :param reply_to: where an answer goes, empty: to the sender
    :raises ValueError: no address, or a line break in a header
    """
    if not to:
        raise ValueError("a mail needs a recipient")
    for header in (subject, reply_to, *to):
        if "\n" in header or "\r" in header:
            raise ValueError("a mail's address or subject holds a line break")
    payload = {"to": list(to), "subject": subject, "text": text, "html": html, "reply_to": reply_to}
    return model.objects.create(kind=kind, payload=json.dumps(payload), message_id=_new_message_id())


def deliver_due(model: type[AbstractOutgoingMail], limit: int = 50) -> int:
    """Send what is due, oldest first. One delivery per table runs at a time; a second one has nothing to do.

    It ends early when the server cannot be reached or hangs, since the next mail would fare no better: a server that is away costs a
    worker one time limit per run, not one per mail.

    :param limit: at most so many, to keep the job short
    :return: how many were sent
    """
    sent, end = 0, time.monotonic() + MOST_SECONDS
    with _only_one(model) as mine:
        for _ in range(limit if mine else 0):
            mail = _claim(model)
            if mail is None:
                break
            problem = _attempt(mail)
            sent += problem is None
            if time.monotonic() >= end or (problem is not None and _is_away(problem)):
                break
    return sent


def is_working() -> bool:
    """Whether mail can be handed over now: connects and logs in, without sending anything. Takes a few seconds at most."""
    if settings.EMAIL_BACKEND.rpartition(".")[0] in _TO_NOBODY:
        return False
    server = get_connection(timeout=CHECK_SECONDS)
    try:
        server.open()
        server.close()
    except (smtplib.SMTPException, OSError, ValueError):
        return False
    return True


def forget_old(model: type[AbstractOutgoingMail], before: datetime, **but: Any) -> int:
    """Delete the rows of mails that were sent or given up, by when they were written.

    :param but: fields of rows that stay
    :return: how many
    """
    old = model.objects.filter(state__in=(model.SENT, model.GIVEN_UP), created_at__lt=before)
    return (old.exclude(**but) if but else old).delete()[0]


@contextmanager
def _only_one(model: type[AbstractOutgoingMail]) -> Iterator[bool]:
    """Whether this process may deliver a table's mail; if so, no other does inside the block."""
    numbers = [_LOCK_GROUP, zlib.crc32(model._meta.label.encode()) & 0x7FFFFFFF]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", numbers)
        mine = cursor.fetchone()[0]
    try:
        yield mine
    finally:
        if mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", numbers)


def _claim(model: type[AbstractOutgoingMail]) -> Optional[AbstractOutgoingMail]:
    """The next due mail, its next attempt put off so that nobody else takes it and a crash here frees it again."""
    with transaction.atomic():
        now = timezone.now()
        mail = (
            model.objects.select_for_update(skip_locked=True)
            .filter(state=model.WAITING, next_attempt_at__lte=now)
            .order_by("next_attempt_at", "pk")
            .first()
        )
        if mail is not None:
            mail.attempts += 1
            mail.next_attempt_at = now + timedelta(seconds=CLAIM_SECONDS)
            mail.save(update_fields=["attempts", "next_attempt_at"])
        return mail


def _attempt(mail: AbstractOutgoingMail) -> Optional[Exception]:
    """Try to send a mail. :return: what went wrong, None if it was sent"""
    payload: dict[str, Any] = json.loads(mail.payload) if mail.payload else {}
    if not payload:
        problem = "its content cannot be decrypted any more"
        _finish(mail, mail.GIVEN_UP, problem)
        return ValueError(problem)
    try:
        _send(mail, payload)
    except (smtplib.SMTPException, OSError, ValueError) as problem:  # ValueError: settings or an address that Django refuses
        _put_off(mail, problem)
        return problem
    _finish(mail, mail.SENT, "")
    return None


def _is_away(problem: Exception) -> bool:
    """Whether it is the server that cannot be reached or hangs, and not this mail that it does not want."""
    return isinstance(problem, (smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError)) or (
        isinstance(problem, OSError) and not isinstance(problem, smtplib.SMTPException))


def _send(mail: AbstractOutgoingMail, payload: dict[str, Any]) -> None:
    # A site's timeout may be None (Django's default) or very long, which could hold a worker for ever.
    server = get_connection(timeout=min(settings.EMAIL_TIMEOUT or TIMEOUT_SECONDS, TIMEOUT_SECONDS))
    message = EmailMultiAlternatives(
        payload["subject"], payload["text"], settings.DEFAULT_FROM_EMAIL, payload["to"], connection=server,
        reply_to=[payload["reply_to"]] if payload["reply_to"] else None,
        headers={"Message-ID": mail.message_id, "Auto-Submitted": "auto-generated"},
    )
    if payload["html"]:
        message.attach_alternative(payload["html"], "text/html")
    message.send()


def _put_off(mail: AbstractOutgoingMail, problem: Exception) -> None:
    told = _telling(problem)
    if mail.attempts >= MAX_ATTEMPTS or _is_final(problem):
        logger.error("Mail %s (%s) is given up after %d attempts: %s", mail.pk, mail.kind, mail.attempts, told)
        _finish(mail, mail.GIVEN_UP, told)
        return
    minutes = WAITS_MINUTES[min(mail.attempts, len(WAITS_MINUTES)) - 1]
    mail.next_attempt_at = timezone.now() + timedelta(minutes=minutes)
    mail.last_error = told
    mail.save(update_fields=["next_attempt_at", "last_error"])
    logger.warning("Mail %s (%s) was not sent and is tried again in %d min: %s", mail.pk, mail.kind, minutes, told)


def _finish(mail: AbstractOutgoingMail, state: str, problem: str) -> None:
    mail.state, mail.payload, mail.last_error = state, "", problem
    mail.sent_at = timezone.now() if state == mail.SENT else None
    mail.save(update_fields=["state", "payload", "last_error", "sent_at"])


def _is_final(problem: Exception) -> bool:
    """Whether the server will never take it: this mailbox or this message is refused (RFC 5321, 4.2.2 and 4.2.3). The
    other 5yz tell of a server in trouble or of our own login, which somebody may put right."""
    if isinstance(problem, smtplib.SMTPRecipientsRefused):
        return all(_is_final_code(code) for code, _ in problem.recipients.values())
    return isinstance(problem, smtplib.SMTPResponseException) and _is_final_code(problem.smtp_code)


def _is_final_code(code: int) -> bool:
    return code == 521 or 550 <= code <= 559


def _telling(problem: Exception) -> str:
    """The error for the log and the admin: its kind and number, no text of the server, which repeats addresses."""
    if isinstance(problem, smtplib.SMTPRecipientsRefused):
        codes = sorted({code for code, _ in problem.recipients.values()})
        return "recipient refused ({})".format(", ".join(map(str, codes)))
    if isinstance(problem, smtplib.SMTPResponseException):
        return f"{type(problem).__name__} ({problem.smtp_code})"
    if isinstance(problem, OSError) and problem.errno is not None:
        return f"{type(problem).__name__} ({problem.strerror})"
    return type(problem).__name__


def _new_message_id() -> str:
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    return f"<{uuid.uuid4().hex}@{domain}>"
