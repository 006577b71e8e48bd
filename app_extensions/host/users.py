"""WebODM's users: the group that lets them work, new accounts, and whom a JSON web token stands for."""
from typing import Optional

from django.contrib.auth.models import Group, Permission, User
from django.http import HttpRequest
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_jwt.authentication import BaseJSONWebTokenAuthentication, JSONWebTokenAuthentication
from rest_framework_jwt.settings import api_settings

DEFAULT_GROUP = "Default"


def default_group() -> Group:
    """WebODM's group of everybody, with the permissions on projects, tasks and presets; made if WebODM has not yet."""
    group, created = Group.objects.get_or_create(name=DEFAULT_GROUP)
    if created:
        for suffix in ("_project", "_task", "_preset"):
            group.permissions.add(*Permission.objects.filter(content_type__app_label="app", codename__endswith=suffix))
        group.permissions.add(Permission.objects.get(codename="view_processingnode"))
    return group


def create_user(username: str, email: str = "", *, first_name: str = "", last_name: str = "") -> User:
    """Makes an account without a password, in the default group. Raises IntegrityError where the name is taken."""
    user = User(username=username, email=email, first_name=first_name, last_name=last_name)
    user.set_unusable_password()
    user.save()
    user.groups.add(default_group())
    return user


class _QueryToken(BaseJSONWebTokenAuthentication):
    """``?jwt=``, as WebODM accepts it."""

    def get_jwt_value(self, request: HttpRequest) -> Optional[str]:
        return request.GET.get("jwt")


def jwt_user(request: HttpRequest) -> Optional[User]:
    """The user of WebODM's token in ``Authorization: JWT …`` or ``?jwt=``; None without one, or with one that is not good."""
    for authentication in (JSONWebTokenAuthentication(), _QueryToken()):
        try:
            found = authentication.authenticate(request)
        except AuthenticationFailed:
            return None
        if found:
            return found[0]
    return None


def make_jwt(user: User) -> str:
    """A token for the user, as ``/api/token-auth/`` gives it (six hours)."""
    return api_settings.JWT_ENCODE_HANDLER(api_settings.JWT_PAYLOAD_HANDLER(user))
