"""What one client did with one token on one day."""
from django.db import models


class ClientDay(models.Model):
    """Counts that limit what one client may do with a token in a day (UTC). Removed a few days later.

    The client is a keyed hash of day and address, so nobody can tell from these rows who it was, or follow anybody from one day to
    the next. A private token has one client.
    """

    id = models.BigAutoField(primary_key=True)
    token = models.ForeignKey("openscan.Token", on_delete=models.CASCADE, related_name="client_days")
    day = models.DateField(db_index=True)
    client = models.CharField(max_length=32)
    calls = models.IntegerField(default=0, help_text="Calls of createProject")
    refusals = models.IntegerField(default=0, help_text="Sets that were refused during ingest")
    used_bytes = models.BigIntegerField(default=0, help_text="Credit that this client's sets have used")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "day", "client"], name="openscan_client_day")]

    def __str__(self) -> str:
        return f"{self.client} on {self.day}"
