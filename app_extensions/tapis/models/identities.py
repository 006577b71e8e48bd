"""Links between Tapis users and WebODM users."""
from django.conf import settings
from django.db import models


class TapisIdentity(models.Model):
    """A Tapis user (``sub`` of one issuer) and the WebODM user that the Tapis user logs in as.

    Only a row here lets a Tapis user act as a WebODM user. Equal names mean nothing.
    """

    CREATED, SELF, ADMIN = "created", "self", "admin"
    LINKED_BY = ((CREATED, "the first Tapis login"), (SELF, "the user, signed in"), (ADMIN, "an administrator"))

    issuer = models.CharField(max_length=255, help_text="The base URL followed by /v3/tokens.")
    subject = models.CharField(max_length=255, help_text="user@tenant, as Tapis signs it in `sub`.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False, related_name="tapis_identities"
    )
    linked_by = models.CharField(max_length=10, choices=LINKED_BY, default=ADMIN, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_login_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        app_label = "tapis"
        verbose_name = "Tapis identity"
        verbose_name_plural = "Tapis identities"
        ordering = ("subject",)
        unique_together = [("issuer", "subject")]

    def __str__(self) -> str:
        return self.subject

    @property
    def username(self) -> str:
        """The user's name at Tapis, without the tenant."""
        return self.subject.rpartition("@")[0]

    @property
    def tenant_id(self) -> str:
        """The tenant the user belongs to."""
        return self.subject.rpartition("@")[2]
