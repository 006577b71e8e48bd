"""WebODM's users: the group that lets them work, and new accounts."""
from django.contrib.auth.models import Group, Permission, User

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
