"""`manage.py openscan_check`: proves that the credit books add up, and that files and rows match."""
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import books
from app_extensions.openscan.models import LedgerEntry, Part, Token
from app_extensions.openscan.results.object_storage import lifecycle
from app_extensions.openscan.results.object_storage.client import StorageError


class Command(BaseCommand):
    help = "Proves that every token's credit is the sum of its ledger entries, and that parts and files match."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--sweep", action="store_true", help="first remove files that killed processes left behind")
        parser.add_argument("--objects", action="store_true", help="also compare object storage with its rows (lists the bucket)")
        parser.add_argument("--json", action="store_true", help="print JSON for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        swept = part_files.sweep() if options["sweep"] else 0
        problems = books.find_discrepancies() + part_files.missing_files()
        problems += [f"The file {path.parent.name}/{path.name} belongs to no part; --sweep removes it."
                     for path in part_files.stray_files()]
        if options["objects"]:
            problems += self._objects()
        counted = {"tokens": Token.objects.count(), "entries": LedgerEntry.objects.count(),
                   "parts": Part.objects.count(), "swept": swept}
        if options["json"]:
            self.stdout.write(json.dumps({"ok": not problems, "problems": problems, **counted}))
        else:
            for problem in problems:
                self.stdout.write(problem)
            self.stdout.write(f"{counted['tokens']} tokens, {counted['entries']} ledger entries, {counted['parts']} parts: "
                              + (f"{len(problems)} problems." if problems else "everything adds up."))
        if problems:
            raise CommandError("The OpenScan check found problems.")

    def _objects(self) -> "list[str]":
        try:
            return lifecycle.discrepancies()
        except StorageError as error:
            return [f"Object storage could not be checked: {error}."]
