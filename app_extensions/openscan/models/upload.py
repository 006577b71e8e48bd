"""What a browser said it would send: file names and sizes, because a bare photo does not carry its name."""
import json

from django.db import models
from django.utils import timezone


class BrowserUpload(models.Model):
    """The files behind a scan's parts, in the order of the parts. Deleted with the scan's row, and not needed after ingest."""

    scan = models.OneToOneField("openscan.Scan", on_delete=models.CASCADE, primary_key=True, related_name="browser_upload")
    files = models.TextField(help_text="JSON: a list of [path, bytes], one for each part")
    archive = models.CharField(max_length=255, blank=True, help_text="Name of the zip, if the parts are slices of one")
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"files of scan {self.scan_id}"

    def file_list(self) -> "list[tuple[str, int]]":
        """(path, bytes) of each part."""
        return list(map(tuple, json.loads(self.files)))
