"""Who a verified Tapis user is here. An account is handed over to nobody because names are equal."""
import logging
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any, Optional

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from app_extensions.host import users
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.verification import Claims
from app_extensions.tapis.models import TapisIdentity
from app_extensions.tapis.problems import TapisProblem

logger = logging.getLogger("app.logger")


class NotLinked(TapisProblem):
    """The Tapis user has no WebODM user, and none is made here."""

    status = 403
    error = "No WebODM user is linked to this Tapis user"


class LinkedElsewhere(TapisProblem):
    """The Tapis user belongs to another WebODM user than the one who is signed in."""

    status = 409
    error = "This Tapis user is linked to another WebODM user"


class AccountDisabled(TapisProblem):
    """The linked WebODM user is not active."""

    status = 403
    error = "This WebODM account is disabled"


class ChoiceNeeded(TapisProblem):
    """A person has to say which WebODM user the Tapis user is to be."""

    status = 409
    error = "This Tapis user is not linked to a WebODM user yet"

    def __init__(self, detail: str, claims: Claims) -> None:
        super().__init__(detail)
        self.claims = claims


def find_identity(claims: Claims) -> Optional[TapisIdentity]:
    """The identity of a verified token, if it is known, with its user. :raises AccountDisabled: the user is not active"""
    identity = TapisIdentity.objects.filter(issuer=claims.issuer, subject=claims.subject).first()
    if identity is None:
        return None
    user = get_user_model().objects.filter(pk=identity.user_id).first()
    if user is None:
        # WebODM deleted the user while this app was not loaded: no constraint of ours kept it from that.
        identity.delete()
        return None
    if not user.is_active:
        raise AccountDisabled("Ask an administrator to enable it.")
    identity.user = user
    return identity


def identity_for_login(claims: Claims, signed_in: Optional[Any]) -> TapisIdentity:
    """The identity to log in as, made for a Tapis user who is new and whose name is free here.

    :param signed_in: the WebODM user who is signed in already, or None
    :raises LinkedElsewhere: the identity is another user's than the one signed in
    :raises ChoiceNeeded: somebody is signed in, or has the same name: a person must choose
    :raises NotLinked: no account, and ``TAPIS_CREATE_USERS`` is off; :raises AccountDisabled:
    """
    identity = find_identity(claims)
    if identity is not None:
        if signed_in is not None and identity.user_id != signed_in.pk:
            raise LinkedElsewhere("Sign out of WebODM first, or ask an administrator to change the link.")
        return identity
    if signed_in is not None:
        raise ChoiceNeeded("Confirm that you want to link it to your account.", claims)
    if name_is_taken(claims.username):
        raise ChoiceNeeded(
            f"A WebODM user called {claims.username} exists. If that is you, sign in and link the two.", claims
        )
    return create_identity(claims, claims.username)


def name_is_taken(username: str) -> bool:
    """Whether a WebODM user has this name, in upper or lower case, or WebODM does not take it."""
    model = get_user_model()
    try:
        model._meta.get_field("username").run_validators(username)
    except ValidationError:
        return True
    return model.objects.filter(username__iexact=username).exists()


def free_username(claims: Claims) -> str:
    """A name for a new WebODM user: the Tapis name, else ``user@tenant``, else that with a number."""
    base = claims.subject if len(claims.subject) <= 140 else "tapis-" + sha256(claims.subject.encode()).hexdigest()[:32]
    candidates = [claims.username, base] + [f"{base}-{number}" for number in range(2, 1000)]
    for name in candidates:
        if not name_is_taken(name):
            return name
    raise TapisProblem("No free user name was found.", status=409)


def create_identity(claims: Claims, username: str) -> TapisIdentity:
    """A new WebODM user (in WebODM's default group, without a password) for a Tapis user.

    :raises NotLinked: ``TAPIS_CREATE_USERS`` is off, or ``TAPIS_ALLOWED_USERS`` does not name the Tapis user
    """
    if not conf.create_users or not is_allowed(claims):
        raise NotLinked("Sign in to WebODM and link your Tapis user, or ask an administrator for an account.")
    try:
        with transaction.atomic():
            user = users.create_user(username)
            identity = TapisIdentity.objects.create(
                issuer=claims.issuer, subject=claims.subject, user=user, linked_by=TapisIdentity.CREATED
            )
    except IntegrityError:
        # Two first logins at once: the other one made it, or somebody took the name.
        identity = find_identity(claims)
        if identity is None:
            raise ChoiceNeeded("The user name was just taken. Choose again.", claims) from None
        return identity
    logger.info("Tapis: made the WebODM user %s for %s", username, claims.subject)
    return identity


def is_allowed(claims: Claims) -> bool:
    """Whether ``TAPIS_ALLOWED_USERS`` lets a Tapis user have a new account here, by name or by ``user@tenant``. Empty: nobody."""
    patterns = [text.strip() for text in conf.allowed_users.split(",") if text.strip()]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in (claims.username, claims.subject))


def link_identity(claims: Claims, user: Any) -> TapisIdentity:
    """Link a verified Tapis user to a WebODM user who is signed in and said so. :raises LinkedElsewhere:"""
    identity, created = TapisIdentity.objects.get_or_create(
        issuer=claims.issuer, subject=claims.subject, defaults={"user": user, "linked_by": TapisIdentity.SELF}
    )
    if identity.user_id != user.pk:
        raise LinkedElsewhere("Ask an administrator to change the link.")
    if created:
        logger.info("Tapis: linked %s to the WebODM user %s", claims.subject, user.pk)
    return identity


def note_login(identity: TapisIdentity) -> None:
    """Remember when the identity was last used to log in."""
    TapisIdentity.objects.filter(pk=identity.pk).update(last_login_at=timezone.now())
