"""Find or make the WebODM user of a verified Tapis user. An equal name alone never gives access to an account."""
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
    """The Tapis user has no WebODM user, and may not get a new one."""

    status = 403
    error = "No WebODM user is linked to this Tapis user"


class LinkedElsewhere(TapisProblem):
    """The Tapis user is linked to a WebODM user other than the one signed in."""

    status = 409
    error = "This Tapis user is linked to another WebODM user"


class AccountDisabled(TapisProblem):
    """The linked WebODM user is not active."""

    status = 403
    error = "This WebODM account is disabled"


class ChoiceNeeded(TapisProblem):
    """The person logging in must choose the WebODM user for the Tapis user."""

    status = 409
    error = "This Tapis user is not linked to a WebODM user yet"

    def __init__(self, detail: str, claims: Claims) -> None:
        super().__init__(detail)
        self.claims = claims


def find_identity(claims: Claims) -> Optional[TapisIdentity]:
    """The known identity of a verified token, with its user; None if it is new. :raises AccountDisabled: the user is not active"""
    identity = TapisIdentity.objects.filter(issuer=claims.issuer, subject=claims.subject).first()
    if identity is None:
        return None
    user = get_user_model().objects.filter(pk=identity.user_id).first()
    if user is None:
        # WebODM deleted the user while this app was not loaded. Our tables have no database constraint that prevents this.
        identity.delete()
        return None
    if not user.is_active:
        raise AccountDisabled("Ask an administrator to enable it.")
    identity.user = user
    return identity


def identity_for_login(claims: Claims, signed_in: Optional[Any]) -> TapisIdentity:
    """The identity to log in as. A new Tapis user gets a new WebODM user if the name is free here.

    :param signed_in: the WebODM user who is already signed in, or None
    :raises LinkedElsewhere: the identity belongs to another user than the one signed in
    :raises ChoiceNeeded: a person must choose the account, because somebody is signed in or has the same name
    :raises NotLinked: the Tapis user has no account and may not get one, see ``create_identity``
    :raises AccountDisabled: the linked user is not active
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
    """Whether a WebODM user has this name (case does not matter), or WebODM does not allow the name."""
    model = get_user_model()
    try:
        model._meta.get_field("username").run_validators(username)
    except ValidationError:
        return True
    return model.objects.filter(username__iexact=username).exists()


def free_username(claims: Claims) -> str:
    """A free name for a new WebODM user: the Tapis name, else ``user@tenant``, else the latter with a number."""
    base = claims.subject if len(claims.subject) <= 140 else "tapis-" + sha256(claims.subject.encode()).hexdigest()[:32]
    candidates = [claims.username, base] + [f"{base}-{number}" for number in range(2, 1000)]
    for name in candidates:
        if not name_is_taken(name):
            return name
    raise TapisProblem("No free user name was found.", status=409)


def create_identity(claims: Claims, username: str) -> TapisIdentity:
    """Make a WebODM user for a Tapis user, in WebODM's default group and without a password.

    :raises NotLinked: ``TAPIS_CREATE_USERS`` is off, or ``TAPIS_ALLOWED_USERS`` does not include the Tapis user
    :raises ChoiceNeeded: somebody took the user name at the same moment
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
        # Two first logins came at once and the other one made the user, or somebody took the name.
        identity = find_identity(claims)
        if identity is None:
            raise ChoiceNeeded("The user name was just taken. Choose again.", claims) from None
        return identity
    logger.info("Tapis: made the WebODM user %s for %s", username, claims.subject)
    return identity


def is_allowed(claims: Claims) -> bool:
    """Whether ``TAPIS_ALLOWED_USERS`` allows a new account for a Tapis user, by name or by ``user@tenant``. Empty: nobody."""
    patterns = [text.strip() for text in conf.allowed_users.split(",") if text.strip()]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in (claims.username, claims.subject))


def link_identity(claims: Claims, user: Any) -> TapisIdentity:
    """Link a verified Tapis user to the signed-in WebODM user, who has confirmed it. :raises LinkedElsewhere:"""
    identity, created = TapisIdentity.objects.get_or_create(
        issuer=claims.issuer, subject=claims.subject, defaults={"user": user, "linked_by": TapisIdentity.SELF}
    )
    if identity.user_id != user.pk:
        raise LinkedElsewhere("Ask an administrator to change the link.")
    if created:
        logger.info("Tapis: linked %s to the WebODM user %s", claims.subject, user.pk)
    return identity


def note_login(identity: TapisIdentity) -> None:
    """Record that the identity was used to log in now."""
    TapisIdentity.objects.filter(pk=identity.pk).update(last_login_at=timezone.now())
