"""Outgoing mail that survives restarts. Each mail is a row; a Celery job sends it and retries with growing waits.

Each app derives its own model from the abstract one, so that neither app needs the other::

    class OutgoingMail(AbstractOutgoingMail):
        class Meta(AbstractOutgoingMail.Meta):
            abstract = False

The app calls ``enqueue(OutgoingMail, …)`` in the transaction of the event that the mail reports, so that both are kept or
neither. It runs ``deliver_due(OutgoingMail)`` in a short Celery job after the commit, and again every minute.

A mail may contain a token, so its addresses and content are encrypted while it waits, and deleted after delivery. A mail
is delivered at least once; SMTP cannot promise more. If a process is killed between the server's "250" and its own commit,
the mail is sent again with the same Message-ID, so that mail programs recognize the copy.
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

#: Minutes until the next attempt, after the first, second … failure. The last value repeats.
WAITS_MINUTES = (1, 5, 15, 60, 180, 360)
#: 1 + 5 + 15 + 60 + 180 minutes, then every six hours: about four days in all, like mail servers.
MAX_ATTEMPTS = 20
#: If a worker is killed while sending, the mail is due again after this. A delivery never takes that long (see TIMEOUT_SECONDS).
CLAIM_SECONDS = 600
CHECK_SECONDS = 5
#: Django's backends that do not send mail to anybody.
_TO_NOBODY = tuple(f"django.core.mail.backends.{name}" for name in ("console", "dummy", "filebased"))
#: Longest step of an SMTP conversation, and seconds after which a delivery job starts no further mail.
TIMEOUT_SECONDS = 30
MOST_SECONDS = 60
_LOCK_GROUP = 0x4D41494C  # "MAIL": the first number of the advisory lock; the second stands for the table


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
    :param html: the same text in HTML, or empty
    :param reply_to: address for answers; empty: the sender's
    :raises ValueError: there is no address, or a header has a line break
    """
    if not to:
        raise ValueError("a mail needs a recipient")
    for header in (subject, reply_to, *to):
        if "\n" in header or "\r" in header:
            raise ValueError("a mail's address or subject holds a line break")
    payload = {"to": list(to), "subject": subject, "text": text, "html": html, "reply_to": reply_to}
    return model.objects.create(kind=kind, payload=json.dumps(payload), message_id=_new_message_id())


def deliver_due(model: type[AbstractOutgoingMail], limit: int = 50) -> int:
    """Send the mails that are due, the oldest first. Only one delivery per table runs at a time; a second one returns at once.

    It ends early if the server cannot be reached or hangs, because the next mail would fail as well. So an unreachable server costs a
    worker one time limit per run, not one per mail.

    :param limit: most mails to send, to keep the job short
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
    """Whether mail can be sent now. Connects to the server and logs in, but sends nothing. Takes a few seconds at most."""
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
    """Delete the rows of mails that were sent or given up.

    :param before: delete rows that were created before this time
    :param but: filter for rows to keep
    :return: how many
    """
    old = model.objects.filter(state__in=(model.SENT, model.GIVEN_UP), created_at__lt=before)
    return (old.exclude(**but) if but else old).delete()[0]


@contextmanager
def _only_one(model: type[AbstractOutgoingMail]) -> Iterator[bool]:
    """Yield whether this process may deliver a table's mail. If so, no other process does so inside the block."""
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
    """The next due mail. Its next attempt is set to later, so that nobody else takes it, but it is due again after a crash."""
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
    except (smtplib.SMTPException, OSError, ValueError) as problem:  # ValueError: Django refuses the settings or an address
        _put_off(mail, problem)
        return problem
    _finish(mail, mail.SENT, "")
    return None


def _is_away(problem: Exception) -> bool:
    """Whether the server cannot be reached or hangs, as opposed to refusing this mail."""
    return isinstance(problem, (smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError)) or (
        isinstance(problem, OSError) and not isinstance(problem, smtplib.SMTPException))


def _send(mail: AbstractOutgoingMail, payload: dict[str, Any]) -> None:
    # A site's timeout may be None (Django's default) or very long, which could block a worker forever.
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
    """Whether the server will never accept the mail, because it refuses the mailbox or the message (RFC 5321, 4.2.2 and 4.2.3).

    Other 5yz codes report trouble of the server or with our login, which somebody may fix.
    """
    if isinstance(problem, smtplib.SMTPRecipientsRefused):
        return all(_is_final_code(code) for code, _ in problem.recipients.values())
    return isinstance(problem, smtplib.SMTPResponseException) and _is_final_code(problem.smtp_code)


def _is_final_code(code: int) -> bool:
    return code == 521 or 550 <= code <= 559


def _telling(problem: Exception) -> str:
    """The error for the log and the admin page: its class and number, but not the server's text, which repeats addresses."""
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
