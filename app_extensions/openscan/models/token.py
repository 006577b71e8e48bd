"""A token: who may upload, how much, and what is left."""
from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from app_extensions.openscan.conf import conf


def default_limit_filesize() -> int:
    return conf.limit_filesize_bytes


def default_limit_photos() -> int:
    return conf.limit_photos


def default_limit_part() -> int:
    return conf.limit_part_bytes


class Token(models.Model):
    """A right to upload. The token's text is shown once; we store only its first characters and a SHA-256.

    `credit_bytes` is the balance; only `ledger` writes it, under this row's lock. A public token is shared by many and
    topped up to `daily_bytes` every day; a private one belongs to the person named here.
    """

    PRIVATE = "private"
    PUBLIC = "public"
    KINDS = ((PRIVATE, "private"), (PUBLIC, "public"))

    kind = models.CharField(max_length=8, choices=KINDS, default=PRIVATE)
    prefix = models.CharField(max_length=6, editable=False, help_text="The token's first characters")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    label = models.CharField(max_length=100, blank=True, help_text="What a public token is for, e.g. the site's name")
    forename = models.CharField(max_length=100, blank=True)
    surname = models.CharField(max_length=100, blank=True)
    mail = models.EmailField(blank=True, db_index=True)
    # No database constraint: WebODM must be able to delete its users while this app is not loaded.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, db_constraint=False, related_name="+",
        help_text="WebODM user who owns the projects of this token",
    )
    webodm_project_id = models.IntegerField(null=True, blank=True, editable=False)
    limit_filesize_bytes = models.BigIntegerField(default=default_limit_filesize)
    limit_photos = models.IntegerField(default=default_limit_photos)
    limit_part_bytes = models.BigIntegerField(default=default_limit_part)
    credit_bytes = models.BigIntegerField(default=0, editable=False)
    daily_bytes = models.BigIntegerField(default=0, help_text="Public tokens: topped up to this at 00:00 UTC")
    refilled_on = models.DateField(null=True, blank=True, editable=False)
    refilled_at = models.DateTimeField(null=True, blank=True, editable=False)
    self_made = models.BooleanField(default=False, editable=False, help_text="Its owner created it on the tokens page")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(check=Q(credit_bytes__gte=0), name="openscan_token_credit_not_negative"),
            models.CheckConstraint(check=Q(daily_bytes__gte=0), name="openscan_token_daily_not_negative"),
            models.CheckConstraint(
                check=Q(limit_filesize_bytes__gt=0, limit_photos__gt=0, limit_part_bytes__gt=0),
                name="openscan_token_limits_positive",
            ),
        ]
        # Migration 0012 has a third index, for the operators' page: Django 2.2 cannot declare where missing times are sorted.
        indexes = [
            models.Index(fields=["id"], condition=Q(kind="public"), name="openscan_token_public"),
            models.Index(fields=["id"], condition=Q(daily_bytes__gt=0), name="openscan_token_daily"),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.kind}{', ' + self.person if self.person else ''})"

    @property
    def is_public(self) -> bool:
        return self.kind == self.PUBLIC

    @property
    def person(self) -> str:
        """Forename and surname of a private token's person; a public token's label."""
        return self.label if self.is_public else f"{self.forename} {self.surname}".strip()
