"""`manage.py openscan_export_research DIR`: exports public sets for research. Their senders have agreed to this."""
import datetime
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from app_extensions.openscan.results import research, research_export
from app_extensions.openscan.results.object_storage.client import StorageError


class Command(BaseCommand):
    help = "Copies photos and models of public sets (consent to research) into DIR, one directory per set. Run it again to add new sets."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, help="target directory; created if missing")
        parser.add_argument("--since", metavar="YYYY-MM-DD", help="only sets started on or after this day (UTC)")
        parser.add_argument("--list", action="store_true", help="only show what would be exported")

    def handle(self, *args: Any, **options: Any) -> None:
        since = None
        if options["since"]:
            try:
                since = datetime.datetime.strptime(options["since"], "%Y-%m-%d").replace(tzinfo=datetime.timezone.utc)
            except ValueError as error:
                raise CommandError(f"--since {options['since']} is not a day; write it like 2026-05-31.") from error
        if options["list"]:
            for scan, _ in research.in_webodm(since):
                self.stdout.write(f"scan {scan.pk}: {scan.images_count} photos, started {scan.started_at:%Y-%m-%d}")
            for entry in research_export.only_archived(since):
                self.stdout.write(f"scan {entry.scan_id}: {entry.scan.images_count} photos, started "
                                  f"{entry.scan.started_at:%Y-%m-%d}, only in object storage ({entry.prefix})")
            return
        fresh = there = failed = 0
        try:
            for exported in research_export.export(options["directory"], since):
                if exported.problem:
                    failed += 1
                    self.stderr.write(f"scan {exported.scan_id}: {exported.problem}")
                elif exported.is_new:
                    fresh += 1
                    self.stdout.write(f"scan {exported.scan_id}: {exported.path}")
                else:
                    there += 1
        except (OSError, StorageError) as error:
            raise CommandError(f"The export stopped after {fresh} sets: {error}. Run it again to continue.") from error
        # Not a failure: nothing can be done about them, and a nightly export must not fail forever.
        gone = f" {failed} left out because their photos are gone." if failed else ""
        self.stdout.write(self.style.SUCCESS(f"{fresh} sets exported, {there} were there before.{gone}"))
