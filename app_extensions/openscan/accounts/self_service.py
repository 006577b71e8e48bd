"""What people do with their own tokens: read the ledger, create one, renew its text, ask for more credit. And how admins answer."""
from typing import Any, Optional

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from app_extensions.openscan.accounts import ledger, limits, tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import CreditRequest, LedgerEntry, Scan, Token
from app_extensions.openscan.notices import messages
from app_extensions.shared.formatting import format_bytes

FORBIDDEN, CONFLICT = 403, 409
MOST_ENTRIES = 30
LONGEST_REASON = 500

#: Kinds of entries in words. {scan} is the scan's name.
_WORDS = {
    LedgerEntry.GRANT: "Credit was granted", LedgerEntry.REFILL: "Topped up for the day",
    LedgerEntry.HOLD: "Set aside for “{scan}”", LedgerEntry.POST: "“{scan}” was read in; the credit that it did not need came back",
    LedgerEntry.VOID: "Given back: “{scan}” was not processed",
    LedgerEntry.REFUND: "Given back: “{scan}” failed, but not because of its photos",
}


def entries_in_words(token: Token, before: int = 0) -> "list[dict[str, Any]]":
    """A page of a token's ledger, newest first, each entry as a sentence with what it changed and the credit it left.

    :param before: an entry's number; list only older entries
    """
    found = token.entries.select_related("scan").order_by("-pk")
    if before:
        found = found.filter(pk__lt=before)
    return [_in_words(entry) for entry in found[:MOST_ENTRIES]]


def _in_words(entry: LedgerEntry) -> "dict[str, Any]":
    name = entry.scan.name if entry.scan is not None else ""
    sentence = _WORDS[entry.kind].replace("{scan}", name if len(name) <= 60 else name[:59] + "…")
    if entry.kind == LedgerEntry.GRANT and entry.note:
        sentence += f" ({entry.note})"
    elif entry.kind == LedgerEntry.POST and not entry.amount_bytes:
        sentence = f"“{name}” was read in and used all the credit that was set aside"
    return {"id": entry.pk, "at": entry.created_at.isoformat(), "sentence": sentence, "amount": entry.amount_bytes,
            "balance": entry.balance_bytes, "kind": entry.kind}


def use_of_credit(token: Token) -> "dict[str, int]":
    """What became of a token's credit, in bytes: ``left``, ``held`` for scans under way, ``used``."""
    sums = Scan.objects.filter(token=token).aggregate(held=Sum("held_bytes"), used=Sum("posted_bytes"))
    return {"left": token.credit_bytes, "held": sums["held"] or 0, "used": sums["used"] or 0}


def may_create(user: Any) -> bool:
    """Whether the site lets this user create a (further) token."""
    return conf.self_service_tokens > 0 and _made_by(user) < conf.self_service_tokens


def _made_by(user: Any) -> int:
    return Token.objects.filter(owner_id=user.pk, self_made=True, revoked_at=None).count()


def create_own(user: Any, forename: str, surname: str, mail: str) -> "tuple[Token, str]":
    """Create a private token for a WebODM user, with the site's usual credit. Show its text only once.

    :raises OpenScanError: 403 if the site does not allow it, 409 if the user has as many as allowed, 400 if the person's data cannot
        be used
    """
    if conf.self_service_tokens <= 0:
        raise OpenScanError("On this site, only administrators can create tokens. Ask for one.", FORBIDDEN)
    with transaction.atomic():
        get_user_model().objects.select_for_update().get(pk=user.pk)  # else two windows could each create the last token
        ever = Token.objects.filter(owner_id=user.pk, self_made=True).count()
        if _made_by(user) >= conf.self_service_tokens:
            raise OpenScanError(f"You already have the {conf.self_service_tokens} tokens that this site lets you create. "
                                "Renew one of them.", CONFLICT)
        # Each of the allowed tokens brings credit once: revoking one and creating another brings no new credit.
        credit = conf.private_credit_bytes if ever < conf.self_service_tokens else 0
        token, text = tokens.create_token(owner=user, forename=forename.strip(), surname=surname.strip(), mail=mail.strip(),
                                          credit_bytes=credit, actor=user.get_username())
        Token.objects.filter(pk=token.pk).update(self_made=True)
    return token, text


def rotate(token: Token) -> str:
    """Give a token a new text; show it only once. The old text stops working at once; scans, credit and limits stay.

    :raises OpenScanError: 409 if the token was revoked
    """
    text = tokens.generate()
    changed = Token.objects.filter(pk=token.pk, revoked_at=None).update(prefix=text[:6], digest=tokens.digest(text))
    if not changed:
        raise OpenScanError("This token was revoked and can no longer be used.", CONFLICT)
    token.refresh_from_db(fields=["prefix", "digest"])
    return text


def ask_for_more(token: Token, wanted_bytes: Any, reason: Any) -> CreditRequest:
    """Ask the administrators for more credit. A token has one open request: asking again changes it and sends no second mail.

    :raises OpenScanError: the amount or the reason cannot be used
    """
    if not isinstance(wanted_bytes, int) or isinstance(wanted_bytes, bool) or not 0 < wanted_bytes <= ledger.LARGEST_GRANT_BYTES:
        raise OpenScanError("Say how much credit you would like, as a number of gigabytes above zero.")
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not limits.is_storable(reason):
        raise OpenScanError(f"Say what it is for in plain text of at most {LONGEST_REASON} characters.")
    with transaction.atomic():
        Token.objects.select_for_update().get(pk=token.pk)
        request, is_new = CreditRequest.objects.update_or_create(
            token=token, decided_at=None, defaults={"wanted_bytes": wanted_bytes, "reason": reason.strip()})
        if is_new:
            messages.credit_requested(request)
    return request


def decide(request: CreditRequest, grant_bytes: Optional[int], actor: str) -> bool:
    """Grant a request's credit, or refuse it (`grant_bytes` is None). Returns False if it was decided before."""
    with transaction.atomic():
        row = CreditRequest.objects.select_for_update().select_related("token").get(pk=request.pk)
        if row.decided_at is not None:
            return False
        row.decided_at, row.decided_by, row.granted_bytes = timezone.now(), actor, grant_bytes or 0
        row.save()
        if grant_bytes:
            ledger.grant(row.token, grant_bytes, actor=actor, note="asked for", key=f"request:{row.pk}")
            messages.credit_granted(row.token, format_bytes(grant_bytes))
    return True


def mail_anew(token: Token, base_url: str = "") -> None:
    """Mail a private token's person a new text, because the first mail was lost. The old text stops working.

    :raises OpenScanError: the token was revoked, or has no person to mail to
    """
    if token.is_public or not token.mail:
        raise OpenScanError("This token has no person to send an email to.", CONFLICT)
    with transaction.atomic():
        messages.send_token(token, rotate(token), base_url)
