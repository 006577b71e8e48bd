"""WebODM's users: their default group, and new accounts."""
from django.contrib.auth.models import Group, Permission, User

DEFAULT_GROUP = "Default"


def default_group() -> Group:
    """WebODM's default group, which gives permissions on projects, tasks and presets. Makes it if WebODM has not done so yet."""
    group, created = Group.objects.get_or_create(name=DEFAULT_GROUP)
    if created:
        for suffix in ("_project", "_task", "_preset"):
            group.permissions.add(*Permission.objects.filter(content_type__app_label="app", codename__endswith=suffix))
        group.permissions.add(Permission.objects.get(codename="view_processingnode"))
    return group


def create_user(username: str, email: str = "", *, first_name: str = "", last_name: str = "") -> User:
    """Make an account without a password, in the default group. Raises IntegrityError if the name is taken."""
    user = User(username=username, email=email, first_name=first_name, last_name=last_name)
    user.set_unusable_password()
    user.save()
    user.groups.add(default_group())
    return user
