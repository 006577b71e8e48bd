"""Flights that this WebODM knows, and their images."""
from django.conf import settings
from django.contrib.postgres.fields import JSONField
from django.db import models


class Flight(models.Model):
    """One flight of one user: ``<name>/code/images`` on one system of one tenant, and the WebODM project made from it.

    The unique constraint prevents duplicates, even if two discoveries run at once. Project and task are plain ids rather than
    foreign keys, because WebODM must be able to delete its own rows (contracts: "Rows of ours that point at WebODM's …").
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False, related_name="tapis_flights"
    )
    client = models.ForeignKey(
        "tapis.TapisOAuth2Client", on_delete=models.SET_NULL, null=True, blank=True, related_name="flights"
    )
    base_url = models.CharField(max_length=255, help_text="The tenant's address, since system ids are unique only within a tenant.")
    tenant_id = models.CharField(max_length=100)
    system_id = models.CharField(max_length=255)
    name = models.CharField(max_length=255, help_text="Name of the flight's directory on Tapis.")
    project_id = models.IntegerField(null=True, blank=True, db_index=True)
    task_id = models.UUIDField(null=True, blank=True, db_index=True)
    project_name = models.CharField(max_length=255, blank=True, default="")
    image_count = models.IntegerField(default=0, help_text="Number of images at the last discovery.")
    total_bytes = models.BigIntegerField(default=0, help_text="Bytes of the images at the last discovery or sync.")
    discovered_at = models.DateTimeField()
    synced_at = models.DateTimeField(null=True, blank=True, help_text="When all images were last here.")
    processing = JSONField(default=dict, blank=True, help_text="Choices made at the import: process, preset, node. The user's "
                                                               "preferences apply to the rest.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "tapis"
        ordering = ("system_id", "name")
        constraints = [
            models.UniqueConstraint(
                fields=["user", "base_url", "tenant_id", "system_id", "name"], name="tapis_one_flight_a_user"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.system_id})"

    @property
    def images_path(self) -> str:
        """The directory of the images, without a slash at either end."""
        return f"{self.name}/code/images"


class SeenFlight(models.Model):
    """A flight that a user's discoveries found on Tapis, imported or not. These rows are the catalog on the flights page."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False, related_name="tapis_seen_flights"
    )
    base_url = models.CharField(max_length=255)
    tenant_id = models.CharField(max_length=100)
    system_id = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    image_count = models.IntegerField(null=True, blank=True, help_text="Empty: not counted yet.")
    total_bytes = models.BigIntegerField(null=True, blank=True, help_text="Empty: not counted yet.")
    seen_at = models.DateTimeField()
    job = models.ForeignKey("tapis.TapisJob", on_delete=models.SET_NULL, null=True, blank=True, related_name="seen")

    class Meta:
        app_label = "tapis"
        ordering = ("system_id", "name")
        unique_together = [("user", "base_url", "tenant_id", "system_id", "name")]

    def __str__(self) -> str:
        return f"{self.name} ({self.system_id})"


class FlightFile(models.Model):
    """One image of a flight: how Tapis last listed it, its file name in the task's directory, and its state."""

    WANTED, FETCHING, DONE, FAILED, REJECTED, GONE = "wanted", "fetching", "done", "failed", "rejected", "gone"
    STATES = [
        (WANTED, "to be fetched"),
        (FETCHING, "being fetched"),
        (DONE, "here"),
        (FAILED, "could not be fetched"),
        (REJECTED, "broken at its source"),
        (GONE, "deleted at its source, kept here"),
    ]

    flight = models.ForeignKey(Flight, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=255, help_text="Name on Tapis.")
    local_name = models.CharField(max_length=255, help_text="Name in the task's directory.")
    local_key = models.CharField(max_length=255, help_text="The local name in lower case.")
    size = models.BigIntegerField(help_text="Bytes, as listed; for a symbolic link, its own length.")
    is_link = models.BooleanField(default=False, help_text="A symbolic link, whose size is not that of the image.")
    last_modified = models.CharField(max_length=64, blank=True, default="", help_text="In Tapis's own format.")
    bytes_here = models.BigIntegerField(default=0, help_text="Bytes on this server's disk.")
    state = models.CharField(max_length=10, choices=STATES, default=WANTED)
    error = models.CharField(max_length=500, blank=True, default="")
    batch = models.ForeignKey("tapis.SyncBatch", on_delete=models.SET_NULL, null=True, blank=True, related_name="files")

    class Meta:
        app_label = "tapis"
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(fields=["flight", "name"], name="tapis_one_file_a_name"),
            models.UniqueConstraint(fields=["flight", "local_key"], name="tapis_one_file_a_local_name"),
        ]
        indexes = [models.Index(fields=["flight", "state"], name="tapis_file_flight_state")]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        """Its path on the system, without a leading slash."""
        return f"{self.flight.images_path}/{self.name}"
