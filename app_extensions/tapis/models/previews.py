"""Previews of flights before their import: when, where and with which camera a few images were taken, from their EXIF."""
from django.db import models
from django.utils import timezone

from app_extensions.tapis.models.flights import SeenFlight


class FlightPreview(models.Model):
    """The preview of one flight in one user's catalog. It belongs to the catalog's row, so users never see each other's previews."""

    WAITING, READY, FAILED = "waiting", "ready", "failed"
    STATES = [(WAITING, "to be fetched"), (READY, "here"), (FAILED, "could not be fetched")]

    seen = models.OneToOneField(SeenFlight, on_delete=models.CASCADE, related_name="preview")
    state = models.CharField(max_length=10, choices=STATES, default=WAITING)
    error = models.TextField(blank=True, default="")
    needs_login = models.BooleanField(default=False, help_text="It failed because the Tapis login had ended.")
    attempts = models.IntegerField(default=0, help_text="Number of attempts by workers since it was requested.")
    asked_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When it was fetched or failed.")
    used_at = models.DateTimeField(default=timezone.now, db_index=True, help_text="The day on which somebody last looked at it.")

    class Meta:
        app_label = "tapis"
        indexes = [models.Index(fields=["asked_at"], name="tapis_preview_waiting", condition=models.Q(state="waiting"))]

    def __str__(self) -> str:
        return f"preview of {self.seen}"


class PreviewImage(models.Model):
    """One image of a preview: a thumbnail, and the values of its EXIF that are plausible."""

    preview = models.ForeignKey(FlightPreview, on_delete=models.CASCADE, related_name="images")
    number = models.IntegerField(help_text="From 1, in the order of the names.")
    name = models.CharField(max_length=255)
    taken_at = models.CharField(max_length=19, blank=True, default="", help_text="The camera's time, ISO 8601 without a time zone.")
    camera = models.CharField(max_length=130, blank=True, default="")
    latitude = models.FloatField(null=True, blank=True)
    longitude = models.FloatField(null=True, blank=True)
    thumbnail = models.BinaryField(blank=True, default=b"", help_text="A JPEG; may be empty.")
    problem = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        app_label = "tapis"
        ordering = ("number",)
        unique_together = [("preview", "number")]

    def __str__(self) -> str:
        return self.name
