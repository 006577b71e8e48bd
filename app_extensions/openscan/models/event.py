"""A scan's history: one row per transition."""
from django.db import models
from django.utils import timezone


class ScanEvent(models.Model):
    """One transition of a scan. Only ``lifecycle`` writes these rows; nothing changes them later."""

    id = models.BigAutoField(primary_key=True)
    scan = models.ForeignKey("openscan.Scan", on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    event = models.CharField(max_length=16, help_text="Name of the transition in lifecycle.py")
    from_state = models.CharField(max_length=12, blank=True, help_text="Empty for a new scan")
    to_state = models.CharField(max_length=12)
    why = models.CharField(max_length=500, blank=True)
    actor = models.CharField(max_length=150, blank=True, help_text="User who caused it; empty for clients and for the program itself")

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.from_state or 'new'} → {self.to_state}: {self.event}"
