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
import uuid
from collections.abc import Sequence
from datetime import timedelta
from email.utils import parseaddr
from typing import Any, Optional

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import models, transaction
from django.utils import timezone

from .crypto import EncryptedTextField

logger = logging.getLogger("app.logger")

#: Minutes until the next attempt, after the first, second … failure; then the last one again.
WAITS_MINUTES = (1, 5, 15, 60, 180, 360)
#: 1 + 5 + 15 + 60 + 180 minutes, then every six hours: about four days, as mail servers do it.
MAX_ATTEMPTS = 20
#: A mail whose sender was killed is free again after this; an SMTP conversation never takes so long (see TIMEOUT).
CLAIM_SECONDS = 600
TIMEOUT_SECONDS = 30


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
        raise ValueError("a mail needs somebody to go to")
    for header in (subject, reply_to, *to):
        if "\n" in header or "\r" in header:
            raise ValueError("a mail's address or subject holds a line break")
    payload = {"to": list(to), "subject": subject, "text": text, "html": html, "reply_to": reply_to}
    return model.objects.create(kind=kind, payload=json.dumps(payload), message_id=_new_message_id())


def deliver_due(model: type[AbstractOutgoingMail], limit: int = 50) -> int:
    """Send what is due, oldest first. Several may run at once; each mail is tried by one.

    :param limit: at most so many, to keep the job short
    :return: how many were sent
    """
    sent = 0
    for _ in range(limit):
        mail = _claim(model)
        if mail is None:
            break
        sent += _attempt(mail)
    return sent


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


def _attempt(mail: AbstractOutgoingMail) -> bool:
    payload: dict[str, Any] = json.loads(mail.payload) if mail.payload else {}
    if not payload:
        _finish(mail, mail.GIVEN_UP, "its content cannot be decrypted any more")
        return False
    try:
        _send(mail, payload)
    except (smtplib.SMTPException, OSError, ValueError) as problem:  # ValueError: settings or an address that Django refuses
        _put_off(mail, problem)
        return False
    _finish(mail, mail.SENT, "")
    return True


def _send(mail: AbstractOutgoingMail, payload: dict[str, Any]) -> None:
    # A site's timeout may be None (Django's default), which could hold a worker for ever.
    connection = get_connection(timeout=settings.EMAIL_TIMEOUT or TIMEOUT_SECONDS)
    message = EmailMultiAlternatives(
        payload["subject"], payload["text"], settings.DEFAULT_FROM_EMAIL, payload["to"], connection=connection,
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
