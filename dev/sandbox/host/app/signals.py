"""New users join the group that may work with projects and tasks."""
import logging

from django.contrib.auth.models import Group, User
from django.db.models.signals import post_save
from django.dispatch import receiver

logger = logging.getLogger("app.logger")


@receiver(post_save, sender=User, dispatch_uid="user_check_default_group")
def check_default_group(sender, instance, created, **kwargs):
    """Adds a new user to the group "Default", where it exists already (it is made at boot)."""
    if not created:
        return
    group = Group.objects.filter(name="Default").first()
    if group is not None:
        instance.groups.add(group)
        logger.info("Added %s to the default group", instance.username)
