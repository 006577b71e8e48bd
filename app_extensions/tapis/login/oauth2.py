"""The OAuth2 login: from our authorize address through Tapis to the callback, and the choice of an account if one is needed.

A state works once, within ten minutes, and only in the browser session that began the login. This module holds the rules; the views
are in ``views/oauth2.py``.
"""
import json
import logging
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Optional
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from app_extensions.tapis.login import authenticator, identity, states, tokens, verification
from app_extensions.tapis.login.authenticator import TokenAnswer
from app_extensions.tapis.login.verification import Claims
from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client, TapisOAuth2State, TapisOAuth2Token
from app_extensions.tapis.models.states import default_expiry
from app_extensions.tapis.problems import BadInput, NoClient, TapisProblem

#: Sent after every finished login with ``user`` and ``client``.
logged_in = Signal(providing_args=["user", "client"])

logger = logging.getLogger("app.logger")

SESSION_KEY = "tapis_login"
DEFAULT_REDIRECT = "/dashboard/"


class BadState(TapisProblem):
    """The state is unknown, used, too old, or belongs to another browser session."""

    status = 400
    error = "This Tapis login cannot be finished"

    def __init__(self, detail: str = "It was started in another browser or more than ten minutes ago, or it is already "
                                     "finished. Start again.") -> None:
        super().__init__(detail)


class LoginRefused(TapisProblem):
    """Tapis answered 400 to the code from the browser."""

    status = 400
    error = "The Tapis login did not work"


class Denied(TapisProblem):
    """Tapis sent the browser back without a code."""

    status = 403
    error = "Tapis did not allow the login"


@dataclass(frozen=True)
class Login:
    """A finished login."""

    identity: TapisIdentity
    client: TapisOAuth2Client
    redirect_after: str


@dataclass(frozen=True)
class Pending:
    """A verified login that waits until the person chooses an account. ``repr`` shows no token."""

    state: TapisOAuth2State
    claims: Claims
    answer: TokenAnswer


def active_client(client_id: str, tenant_id: str = "") -> TapisOAuth2Client:
    """The active client with this id. :param tenant_id: only needed if two tenants have a client with the same id

    :raises NoClient: there is none; :raises BadInput: ``tenant_id`` is needed
    """
    clients = TapisOAuth2Client.objects.filter(client_id=client_id, is_active=True)
    if tenant_id:
        clients = clients.filter(tenant_id=tenant_id)
    found = list(clients[:2])
    if not found:
        raise NoClient("No active Tapis client of this id is registered here.")
    if len(found) > 1:
        raise BadInput("tenant_id", "several tenants have a client with this id; choose one.")
    return found[0]


def client_of(user: Any, client_id: str, tenant_id: str = "") -> TapisOAuth2Client:
    """The client, active or not, from which the user has tokens; else as ``active_client``. :raises NoClient, BadInput:"""
    mine = TapisOAuth2Token.objects.filter(user_id=user.pk, client__client_id=client_id).select_related("client")
    if tenant_id:
        mine = mine.filter(client__tenant_id=tenant_id)
    found = list(mine[:2])
    return found[0].client if len(found) == 1 else active_client(client_id, tenant_id)


def local_path(target: str, host: str) -> str:
    """The path on this host to redirect to after the login.

    :param target: a path, or an address on ``host``, as the caller sent it; empty: the dashboard
    :param host: the Host header
    :raises BadInput: the target leads to another host, or a browser might understand it that way
    """
    if not target:
        return DEFAULT_REDIRECT
    error = BadInput("redirect_after", "must be a path on this WebODM.")
    # Browsers strip tabs and newlines, and read a backslash as a slash. So refuse all of these.
    if len(target) > 2000 or "\\" in target or any(char.isspace() or not char.isprintable() for char in target):
        raise error
    try:
        parts = urlsplit(target)
    except ValueError:
        raise error from None
    if parts.scheme or parts.netloc:
        if parts.scheme not in ("http", "https") or parts.netloc.lower() != host.lower():
            raise error
        target = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
    if not target.startswith("/") or target.startswith("//"):
        raise error
    return target


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _session_hash(session: Any, make: bool = False) -> str:
    """The hash of the browser session's secret. Unlike the session key, the secret does not change when the user signs in."""
    if make and not session.get(SESSION_KEY):
        session[SESSION_KEY] = secrets.token_urlsafe(32)
    return _hash(session[SESSION_KEY]) if session.get(SESSION_KEY) else ""


def _user_id(user: Any) -> Optional[int]:
    return user.pk if user is not None and user.is_authenticated else None


def begin_login(client: TapisOAuth2Client, session: Any, user: Any, redirect_after: str, address: str = "") -> str:
    """Make a state for this browser session.

    :param address: the client's IP address; each may have only a few logins under way
    :return: the address at Tapis to send the browser to
    """
    state = secrets.token_urlsafe(32)
    origin = _hash(f"{settings.SECRET_KEY} {address}")
    states.make_room(origin)
    TapisOAuth2State.objects.create(
        state=_hash(state), session_hash=_session_hash(session, make=True), client=client, user_id=_user_id(user),
        redirect_after=redirect_after, origin=origin,
    )
    query = urlencode({
        "client_id": client.client_id, "redirect_uri": client.callback_url, "response_type": "code", "state": state,
    })
    return f"{client.authorization_url}{'&' if '?' in client.authorization_url else '?'}{query}"


def take_state(state: str, session: Any, user: Any) -> TapisOAuth2State:
    """Use up a state. An attempt from another session neither gets it nor uses it up. :raises BadState, NoClient:"""
    session_hash = _session_hash(session)
    if not state or len(state) > 200 or not session_hash:
        raise BadState
    own = TapisOAuth2State.objects.filter(state=_hash(state), session_hash=session_hash)
    if own.filter(used_at=None, expires_at__gt=timezone.now()).update(used_at=timezone.now()) != 1:
        raise BadState
    found = own.select_related("client").get()
    if found.user_id is not None and found.user_id != _user_id(user):
        raise BadState("You have since signed in to WebODM as another user. Start again.")
    if not found.client.is_active:
        raise NoClient("This Tapis client has since been disabled.")
    return found


def finish_login(state_text: str, code: str, session: Any, user: Any) -> Login:
    """Handle the callback: check the state, exchange the code for tokens, and log in the identity.

    :raises BadState, NoClient, Denied, LoginRefused, InvalidToken, NotLinked, LinkedElsewhere, AccountDisabled, TapisUnreachable:
    :raises ChoiceNeeded: the person must choose an account; the tokens are kept encrypted for ``pending_login``
    """
    state = take_state(state_text, session, user)
    if not code:
        raise Denied("Tapis sent no code.")
    try:
        answer = authenticator.exchange_code(state.client, code)
    except authenticator.Refused:
        # The code is used, too old or made up. Or our own secret is wrong; an administrator sees that in the log.
        raise LoginRefused("Tapis did not accept the login. Try again.") from None
    claims = verification.verify(answer.access_token, state.client)
    try:
        who = identity.identity_for_login(claims, user if _user_id(user) is not None else None)
    except identity.ChoiceNeeded:
        _keep(state, claims, answer)
        raise
    return _finished(who, state, answer)


def _finished(who: TapisIdentity, state: TapisOAuth2State, answer: TokenAnswer) -> Login:
    tokens.store_tokens(who, state.client, answer)
    identity.note_login(who)
    state.delete()
    return Login(who, state.client, state.redirect_after or DEFAULT_REDIRECT)


def tell_logged_in(done: Login) -> None:
    """Send ``logged_in``. If a receiver fails, for example because the broker is down, log it. The login still succeeds."""
    for receiver, outcome in logged_in.send_robust(
        sender=TapisOAuth2Client, user=done.identity.user, client=done.client
    ):
        if isinstance(outcome, Exception):
            name = getattr(receiver, "__name__", receiver)
            logger.error("Tapis: after a login, %s failed: %s", name, type(outcome).__name__, exc_info=outcome)


def _keep(state: TapisOAuth2State, claims: Claims, answer: TokenAnswer) -> None:
    state.pending_tokens = json.dumps({"claims": asdict(claims), "answer": asdict(answer)}, default=datetime.isoformat)
    state.expires_at = default_expiry()
    state.save(update_fields=["pending_tokens", "expires_at"])


def pending_login(session: Any) -> Pending:
    """This browser session's latest login that waits for a choice of account. :raises BadState: there is none"""
    session_hash = _session_hash(session)
    states = (
        TapisOAuth2State.objects.select_related("client")
        .filter(session_hash=session_hash, expires_at__gt=timezone.now(), client__is_active=True)
        .exclude(used_at=None).order_by("-used_at")
    ) if session_hash else ()
    state = next((each for each in states if each.pending_tokens), None)
    if state is None:
        raise BadState
    return _read(state)


def _read(state: TapisOAuth2State) -> Pending:
    kept = json.loads(state.pending_tokens)
    answer = kept["answer"]
    for name in ("expires_at", "refresh_expires_at"):
        answer[name] = datetime.fromisoformat(answer[name]) if answer[name] else None
    return Pending(state, Claims(**kept["claims"]), TokenAnswer(**answer))


def finish_pending(pending: Pending, user: Any, create: bool) -> Login:
    """Finish a login as the person chose: link the Tapis user to the signed-in account, or make a new account.

    :param create: True: make a new account, which requires that nobody is signed in
    :raises BadState: the choice was made already, or it does not match who is signed in
    """
    signed_in = _user_id(user) is not None
    if create == signed_in:
        raise BadState("Sign in to link an account; sign out to get a new one.")
    with transaction.atomic():
        if not TapisOAuth2State.objects.select_for_update().filter(pk=pending.state.pk).exists():
            raise BadState
        known = identity.find_identity(pending.claims)
        if create:
            who = known or identity.create_identity(pending.claims, identity.free_username(pending.claims))
        else:
            who = identity.link_identity(pending.claims, user)
        return _finished(who, pending.state, pending.answer)
