"""A user's disk quota, in megabytes of 2**20 bytes; -1 is none."""
import time

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import models
from django.db.models import Sum
from django.db.models.signals import post_save
from django.dispatch import receiver
from webodm import settings

from .task import Task

USED_QUOTA_SECONDS = 1800


class Profile(models.Model):
    """Made with each user."""

    user = models.OneToOneField(User, on_delete=models.CASCADE)
    quota = models.FloatField(default=-1, blank=True)
    cluster_id = models.IntegerField(blank=True, null=True)
    oidc_sub = models.CharField(max_length=255, blank=True, null=True, unique=True)

    def has_quota(self) -> bool:
        """Whether there is a limit at all."""
        return self.quota != -1

    def used_quota(self) -> float:
        """Megabytes that the user's tasks take."""
        return Task.objects.filter(project__owner=self.user).aggregate(total=Sum("size"))["total"] or 0

    def has_exceeded_quota(self) -> bool:
        """Whether the tasks take more than the limit."""
        return self.has_quota() and self.used_quota() > self.quota

    def used_quota_cached(self) -> float:
        """The same as :meth:`used_quota`, at most half an hour old."""
        used = cache.get(self._key("used_quota"))
        if used is None:
            used = self.used_quota()
            cache.set(self._key("used_quota"), used, USED_QUOTA_SECONDS)
        return used

    def has_exceeded_quota_cached(self) -> bool:
        """The same as :meth:`has_exceeded_quota`, at most half an hour old."""
        return self.has_quota() and self.used_quota_cached() > self.quota

    def clear_used_quota_cache(self) -> None:
        """Forgets the cached use."""
        cache.delete(self._key("used_quota"))

    def get_quota_deadline(self):
        """When tasks begin to be deleted, in seconds since 1970; None while there is no deadline."""
        return cache.get(self._key("quota_deadline"))

    def set_quota_deadline(self, hours: float) -> float:
        """Sets the deadline so many hours from now and returns it."""
        seconds = hours * 3600
        deadline = time.time() + seconds
        cache.set(
            self._key("quota_deadline"),
            deadline,
            int(max(seconds * 10, settings.QUOTA_EXCEEDED_GRACE_PERIOD * 3600)),
        )
        return deadline

    def clear_quota_deadline(self) -> None:
        """Forgets the deadline."""
        cache.delete(self._key("quota_deadline"))

    def _key(self, what: str) -> str:
        return f"{what}_{self.user_id}"


@receiver(post_save, sender=User, dispatch_uid="user_profile")
def save_user_profile(sender, instance, created, **kwargs):
    """Makes a new user's profile, and saves a known user's with the user."""
    if created:
        Profile.objects.create(user=instance)
    else:
        instance.profile.save()
