"""``manage.py addnode HOST PORT``: adds a processing node, or updates the one of that label or host."""
from django.core.management.base import BaseCommand
from nodeodm.models import ProcessingNode


class Command(BaseCommand):
    """Adds a processing node."""

    help = "Adds a processing node, or updates the one with the same label (without a label: the same host)."

    def add_arguments(self, parser):
        """WebODM's arguments."""
        parser.add_argument("host")
        parser.add_argument("port", type=int)
        parser.add_argument("--label", default="")
        parser.add_argument("--token", default="")

    def handle(self, *args, **options):
        """Writes the row; a new node is asked for its state at once."""
        values = {"hostname": options["host"], "port": options["port"], "label": options["label"]}
        values["token"] = options["token"]
        key = {"label": options["label"]} if options["label"] else {"hostname": options["host"]}
        ProcessingNode.objects.update_or_create(defaults=values, **key)
