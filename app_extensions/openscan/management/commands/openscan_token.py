"""`manage.py openscan_token`: creates, lists, credits and revokes tokens, and decides requests for them."""
import json
from functools import partial
from typing import Any, Optional

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from app_extensions.openscan.accounts import ledger, token_requests, tokens
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Token, TokenRequest
from app_extensions.shared import mail
from app_extensions.shared.formatting import format_bytes
from app_extensions.shared.settings import parse_bytes


class Command(BaseCommand):
    help = "Creates, lists, credits and revokes OpenScan tokens, and approves or refuses requests for them."

    def add_arguments(self, parser: CommandParser) -> None:
        # Django does not pass this flag to the parsers of actions, so a mistyped option would end in a traceback.
        parsers = partial(CommandParser, called_from_command_line=parser.called_from_command_line)
        actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=parsers)
        actions.required = True

        create = actions.add_parser("create", help="create a token and print it; it is never shown again")
        create.add_argument("--kind", choices=[Token.PRIVATE, Token.PUBLIC], default=Token.PRIVATE)
        create.add_argument("--mail", default="", help="private: the person's e-mail address")
        create.add_argument("--forename", default="", help="private: the person's forename")
        create.add_argument("--surname", default="", help="private: the person's surname")
        create.add_argument("--label", default="", help="public: what the token is for")
        create.add_argument("--owner", help="WebODM user who owns the token's projects")
        create.add_argument("--credit", type=_size, help="first credit, like 50GB")
        create.add_argument("--daily", type=_size, help="public: topped up to this at 00:00 UTC, like 10GB")
        create.add_argument("--limit-filesize", type=_size, help="largest set, like 2GB")
        create.add_argument("--limit-photos", type=int, help="most photos of a set")

        listing = actions.add_parser("list", help="list the tokens and the waiting requests")

        grant = actions.add_parser("grant", help="add credit to a token")
        grant.add_argument("which", help="the token's number, or its first characters")
        grant.add_argument("amount", type=_size, help="how much, like 10GB")
        grant.add_argument("--note", default="", help="why; kept in the ledger")

        revoke = actions.add_parser("revoke", help="revoke a token, so that it can no longer be used")
        revoke.add_argument("which", help="the token's number, or its first characters")

        approve = actions.add_parser("approve", help="give the person of a request a token; it is emailed once")
        approve.add_argument("which", help="the request's e-mail address or number")
        approve.add_argument("--owner", help="WebODM user who owns the token's projects")
        approve.add_argument("--credit", type=_size, help="first credit, like 50GB")

        refuse = actions.add_parser("refuse", help="refuse a request; no email is sent")
        refuse.add_argument("which", help="the request's e-mail address or number")

        for action in (create, listing, grant, revoke, approve, refuse):
            action.add_argument("--json", action="store_true", help="print JSON for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            content, text = getattr(self, f"_{options['action']}")(options)
        except OpenScanError as error:
            raise CommandError(error.sentence) from error
        self.stdout.write(json.dumps(content) if options["json"] else text)

    def _create(self, options: dict) -> tuple[dict, str]:
        token, secret = tokens.create_token(
            kind=options["kind"], owner=_user(options["owner"]), label=options["label"], forename=options["forename"],
            surname=options["surname"], mail=options["mail"], credit_bytes=options["credit"], daily_bytes=options["daily"],
            limit_filesize_bytes=options["limit_filesize"], limit_photos=options["limit_photos"], actor="command line")
        return {"token": secret, **_described(token)}, (
            f"{secret}\nThis is the only time the token is shown. It is number {token.pk}, {token.kind}, with "
            f"{format_bytes(token.credit_bytes)} of credit.")

    def _list(self, options: dict) -> tuple[dict, str]:
        rows = list(Token.objects.order_by("pk"))
        waiting = list(TokenRequest.objects.filter(state=TokenRequest.PENDING).order_by("pk"))
        lines = [f"{row.pk:>5}  {row.prefix}…  {row.kind:<7}  {format_bytes(row.credit_bytes):>10}  "
                 f"{'revoked' if row.revoked_at else 'valid':<7}  {row.person}" for row in rows] or ["There are no tokens yet."]
        lines += [f"request {request.pk}: {request.forename} {request.surname} <{request.mail}>" for request in waiting]
        requests = [{"id": request.pk, "mail": request.mail, "forename": request.forename, "surname": request.surname}
                    for request in waiting]
        return {"tokens": [_described(row) for row in rows], "requests": requests}, "\n".join(lines)

    def _grant(self, options: dict) -> tuple[dict, str]:
        token = _token(options["which"])
        ledger.grant(token, options["amount"], actor="command line", note=options["note"])
        return _described(token), f"Token {token.pk} now has {format_bytes(token.credit_bytes)} of credit."

    def _revoke(self, options: dict) -> tuple[dict, str]:
        token = _token(options["which"])
        ended = tokens.revoke(token)
        return _described(token), f"Token {token.pk} is revoked{'' if ended else ' (it was before)'}."

    def _approve(self, options: dict) -> tuple[dict, str]:
        request = _request(options["which"])
        token, secret = token_requests.approve(request, owner=_user(options["owner"]), credit_bytes=options["credit"],
                                       actor="command line")
        said = f"Token {token.pk} was made and is mailed to {request.mail}."
        if not mail.is_working():
            said = (f"{secret}\nThis is the only time the token is shown. Hand token {token.pk} to {request.mail} over a safe channel: the "
                    "mail server does not accept mail at the moment, so the email waits.")
        return {"token": secret, **_described(token)}, said

    def _refuse(self, options: dict) -> tuple[dict, str]:
        request = _request(options["which"])
        if not token_requests.refuse(request, actor="command line"):
            raise CommandError(f"This request was {request.state} before.")
        return {"id": request.pk, "state": request.state}, f"The request of {request.mail} is refused."


def _size(text: str) -> int:
    return parse_bytes(text)


_size.__name__ = "size"  # argparse shows this name for an invalid value


def _described(token: Token) -> dict:
    return {
        "id": token.pk, "prefix": token.prefix, "kind": token.kind, "person": token.person, "mail": token.mail,
        "credit": token.credit_bytes, "daily": token.daily_bytes, "limit_filesize": token.limit_filesize_bytes,
        "limit_photos": token.limit_photos, "revoked": token.revoked_at is not None,
    }


def _user(name: Optional[str]) -> Optional[object]:
    if not name:
        return None
    user = get_user_model().objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"WebODM has no user {name}.")
    return user


def _token(which: str) -> Token:
    found = list(Token.objects.filter(pk=int(which)) if which.isdigit() and len(which) < 10
                 else Token.objects.filter(prefix=which[:6]))
    if len(found) != 1:
        raise CommandError(f"{len(found) or 'No'} tokens match {which[:6]}; give a token's number from the list instead.")
    return found[0]


def _request(which: str) -> TokenRequest:
    rows = TokenRequest.objects
    found = rows.filter(pk=int(which)) if which.isdigit() and len(which) < 10 else rows.filter(mail=which.lower())
    request = found.first()
    if request is None:
        raise CommandError(f"There is no token request from {which}.")
    return request
