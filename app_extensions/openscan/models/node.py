"""What we know about processing nodes beyond what WebODM stores, and the progress of scans on them.

Nodes are referenced by plain ids, so that WebODM can delete its own rows.
"""
from django.db import models


class NodeRecord(models.Model):
    """A processing node: what it reported when asked, and its last trouble."""

    node_id = models.IntegerField(unique=True)
    is_cluster = models.BooleanField(default=False, help_text="A ClusterODM, which has several nodes behind one address")
    parallel = models.IntegerField(null=True, blank=True, help_text="Number of tasks it processes at once, as it reports; empty if unknown")
    asked_at = models.DateTimeField(null=True, blank=True)
    troubles = models.IntegerField(default=0, help_text="Number of scans that were moved away from it")
    last_trouble = models.CharField(max_length=200, blank=True)
    rests_until = models.DateTimeField(null=True, blank=True, help_text="It gets no scan before this time")

    def __str__(self) -> str:
        return f"node {self.node_id}"


class NodeWatch(models.Model):
    """The last signs of life of a released scan's task. A time is when a sign was first seen, or when the watch started over."""

    scan = models.OneToOneField("openscan.Scan", on_delete=models.CASCADE, related_name="watch")
    progress = models.CharField(max_length=200, help_text="Changes when the task makes progress")
    progress_at = models.DateTimeField()
    answer = models.CharField(max_length=220, help_text="Also changes when the node answers about it")
    answer_at = models.DateTimeField()
    looked_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"watch of scan {self.scan_id}"
