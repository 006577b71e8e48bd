"""``manage discover_tapis_flights``: discovery, import and sync from the command line.

Exit codes: 0 done; 1 done, but with errors, which are printed; 2 wrong arguments; 3 no usable Tapis login;
4 Tapis, or every requested system, is not accessible.
"""
import json
import sys
from collections.abc import Sequence
from typing import Any, Optional

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from app_extensions.shared.formatting import format_bytes
from app_extensions.tapis import job_reports, jobs
from app_extensions.tapis.catalog import discovery
from app_extensions.tapis.catalog.flights import NOTHING_FOUND
from app_extensions.tapis.catalog.projects import known_flights
from app_extensions.tapis.login.access import TapisAccess, client_for, require_token
from app_extensions.tapis.models import TapisJob
from app_extensions.tapis.problems import BadInput, NoClient, NoToken, TapisProblem, TokenExpired
from app_extensions.tapis.sync import run
from app_extensions.tapis.system_ids import check_system_ids

DONE, INCOMPLETE, USAGE, LOGIN, INACCESSIBLE = range(5)


class Command(BaseCommand):
    """Finds a user's flights on Tapis and makes a WebODM project for each."""

    help = "Find a user's drone flights on Tapis and make a WebODM project of each."

    def add_arguments(self, parser: Any) -> None:
        """The documented options."""
        parser.add_argument("--user", required=True, help="WebODM user to make the projects for")
        parser.add_argument("--client-id", help="Tapis OAuth2 client (default: that of the user's latest login)")
        parser.add_argument("--dry-run", action="store_true", help="make nothing, only show what would be made")
        parser.add_argument("--systems", nargs="+", action="extend", metavar="ID", help="systems to look at (default: all)")
        parser.add_argument("--sync", action="store_true", help="fetch the images of all flights found, now")
        parser.add_argument("--json", action="store_true", help="print the results as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command. Unless the code is 0, exit the process with it."""
        code = self._run(options)
        if code:
            sys.exit(code)

    def _run(self, options: "dict[str, Any]") -> int:
        user = get_user_model().objects.filter(username=options["user"]).first()
        if user is None:
            return self._problem(USAGE, f"There is no WebODM user {options['user']}.", options)
        try:
            systems = check_system_ids(options["systems"], "--systems")
            client = client_for(user, options["client_id"])
            require_token(user, client)
            access = TapisAccess(user, client)
            with Progress("directories", options["json"], self.stderr) as progress:
                results = discovery.discover_and_create(access, systems, dry_run=options["dry_run"],
                                                        told=lambda read, known, images: progress.at(read, known))
        except BadInput as problem:
            return self._problem(USAGE, str(problem), options)
        except NoClient as problem:
            return self._problem(LOGIN, f"{problem} Run tapis_client to list the registered clients.", options)
        except (NoToken, TokenExpired) as problem:
            return self._problem(LOGIN, f"{problem} ({user.get_username()}, at /api/oauth2/tapis/)", options)
        except TapisProblem as problem:
            return self._problem(INACCESSIBLE, str(problem), options)
        syncs = []
        if options["sync"] and not options["dry_run"]:
            syncs = self._sync(access, systems, options)
        return self._tell(results, syncs, options)

    def _sync(self, access: TapisAccess, systems: "Optional[list[str]]", options: "dict[str, Any]") -> "list[dict]":
        ended = []
        for (system_id, name), flight in sorted(known_flights(access.user, access.client).items()):
            if (systems and system_id not in systems) or not jobs.can_be_synced(flight):
                continue
            job, _ = jobs.start_sync(access, flight, queue=False)
            with Progress(f"{name} (images)", options["json"], self.stderr) as progress:
                job = run.run_here(job.pk, progress.show)
                progress.show(job)
            ended.append({**job_reports.as_dict(job), "flight_name": name, "system_id": system_id})
        return ended

    def _tell(self, results: "dict[str, Any]", syncs: "list[dict]", options: "dict[str, Any]") -> int:
        failed = bool(results["errors"]) or any(job["state"] != TapisJob.COMPLETED for job in syncs)
        if options["json"]:
            more = {"syncs": syncs} if options["sync"] else {}
            self.stdout.write(json.dumps(
                {"success": True, "dry_run": options["dry_run"], "results": results, **more}, indent=2))
            return INCOMPLETE if failed else DONE
        made = results["created_projects"]
        if made:
            rows = [(item["flight_name"], item["system_id"], str(item["image_count"]),
                     str(item["project_id"] or "(dry run)")) for item in made]
            self._table(("FLIGHT", "SYSTEM", "IMAGES", "PROJECT"), rows)
        if syncs:
            self._table(("SYNC", "STATE", "IMAGES", "BYTES"), [
                (job["flight_name"], job["state"], f"{job['images_done']}/{job['images_total']}",
                 format_bytes(job["bytes_done"])) for job in syncs])
        verb = "would be created" if options["dry_run"] else "created"
        self.stdout.write(f"{results['systems_scanned']} systems scanned, {results['flights_discovered']} flights discovered, "
                          f"{len(made)} projects {verb}.")
        if not results["flights_discovered"]:
            self.stdout.write(NOTHING_FOUND + ".")
        for error in results["errors"]:
            self.stderr.write(f"error: {error}")
        for job in syncs:
            if job["error"]:
                self.stderr.write(f"{job['flight_name']}: {job['error']}")
        return INCOMPLETE if failed else DONE

    def _table(self, head: "tuple[str, ...]", rows: "Sequence[tuple[str, ...]]") -> None:
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        for row in [head, *rows]:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())

    def _problem(self, code: int, text: str, options: "dict[str, Any]") -> int:
        if options["json"]:
            self.stdout.write(json.dumps({"success": False, "error": text, "exit_code": code}))
        else:
            self.stderr.write(f"error: {text}")
        return code


class Progress:
    """Shows progress: a bar on a terminal, a plain line now and then elsewhere, nothing with ``--json``."""

    STEP = 50

    def __init__(self, what: str, quiet: bool, stream: Any) -> None:
        self.what = what
        self.quiet = quiet
        self.stream = stream
        self.bar: Any = None
        self.last = 0

    def __enter__(self) -> "Progress":
        if not self.quiet and sys.stderr.isatty():
            from tqdm import tqdm  # imported only if somebody sees the bar

            self.bar = tqdm(total=0, desc=self.what, unit="", file=sys.stderr)
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, job: TapisJob) -> None:
        """Show how many of a job's images are here."""
        self.at(job.images_done, job.images_total)

    def at(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        if self.bar is not None:
            self.bar.total = total
            self.bar.update(done - self.bar.n)
            return
        if not self.quiet and done != self.last and (done >= self.last + self.STEP or done == total):
            self.last = done
            self.stream.write(f"{self.what}: {done} of {total}")
