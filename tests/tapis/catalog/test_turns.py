"""Discoveries that go on in turns: a cursor per system, results that can be used meanwhile, systems that fail."""
import time

from django.utils import timezone

from app_extensions.tapis import jobs
from app_extensions.tapis.catalog import scan
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import DiscoverySystem, SeenFlight, TapisJob
from app_extensions.tapis.sync import claims, run


def begun(flyer, purpose=jobs.IMPORT):
    """A discovery that this process does itself."""
    return jobs.start_discovery(TapisAccess(flyer.user, flyer.client), purpose, {}, queue=False)[0]


def test_a_discovery_goes_on_where_its_last_turn_ended(flyer, tapis, settings, consuming):
    consuming.pause()
    settings.TAPIS_BATCH_SECONDS, settings.TAPIS_LISTING_CONNECTIONS = 1.0, 2
    for number in range(30):
        flyer.flight(f"Turn{number:02d}", 1)
    tapis.fault("slow", operation="list", path="/Turn", seconds=0.2)
    tapis._call("POST", "counters/reset")
    job = begun(flyer)
    claimed = claims.claim(only=job.pk)
    assert run.take_claimed_turn(claimed) == "more"
    row = DiscoverySystem.objects.get(job=job)
    assert row.state == "waiting" and 0 < row.read < 30 and row.cursor.startswith("Turn")
    half = flyer.get("tapis-storage/found-flights/")["total"]
    assert half == row.flights > 0, "what was found can be used while the discovery runs"
    progress = flyer.get(f"tapis-storage/jobs/{job.pk}/")["progress"]
    assert progress["directories_read"] == row.read and progress["flights_found"] == row.flights and progress["directories_known"] == 30
    tapis.end_faults()
    settings.TAPIS_BATCH_SECONDS = 600.0  # one more turn does the rest, however slow the machine is
    ended = run.run_here(job.pk)
    assert ended.state == "completed" and ended.results["flights_discovered"] == 30 and ended.results["projects_created"] == 30
    calls = tapis.counters()[f"list:{flyer.system}"]
    # A page of the root in each turn, one call per directory, and one more for each flight that is imported; nothing is asked twice.
    assert calls <= 2 * 30 + 6, calls


def test_flights_that_are_imported_are_not_asked_about_again(flyer, tapis):
    for number in range(5):
        flyer.flight(f"Known{number}", 2)
    flyer.import_all()
    flyer.flight("New", 1)
    tapis._call("POST", "counters/reset")
    found = flyer.post("tapis-storage/discover-flights/")
    assert {flight["flight_name"]: flight["image_count"] for flight in found["flights"]} == {
        **{f"Known{number}": 2 for number in range(5)}, "New": 1}
    assert tapis.counters()[f"list:{flyer.system}"] == 2, "the root, and the one that is not known"


def test_a_probe_asks_for_one_entry_and_for_more_only_where_that_is_no_image(flyer, tapis):
    from app_extensions.tapis.catalog.listing import TapisListing

    flyer.flight("Many", 1500)
    tapis.file(flyer.system, "Double/code/images/._IMG_1.JPG")
    tapis.file(flyer.system, "Double/code/images/IMG_1.JPG")
    bucket = tapis.system("ptdatax.project.probe-" + flyer.name, owner=flyer.name, system_type="S3")
    tapis.file(bucket, "Flight/code/images/readme.txt")
    tapis.file(bucket, "Flight/code/images/zz.jpg")
    listing = TapisListing(TapisAccess(flyer.user, flyer.client))
    assert listing.has_images(flyer.system, "Many/code/images") and listing.calls == 1
    assert listing.has_images(flyer.system, "Double/code/images")
    assert listing.has_images(bucket, "Flight/code/images")
    tapis.file(flyer.system, "None/code/images/readme.txt")
    assert not listing.has_images(flyer.system, "None/code/images")


def test_a_system_whose_directories_all_fail_is_given_up_and_logged_once(flyer, tapis, settings, consuming, caplog):
    consuming.pause()
    settings.TAPIS_LISTING_CONNECTIONS = 2
    for number in range(60):
        flyer.flight(f"Bad{number:02d}", 1)
    tapis.fault("status", operation="list", path="/Bad", status=403, body='{"message": "no"}')
    tapis._call("POST", "counters/reset")
    job = begun(flyer)
    caplog.clear()
    ended = run.run_here(job.pk)
    told = [record.getMessage() for record in caplog.records if flyer.system in record.getMessage() and record.levelname == "WARNING"]
    assert len(told) == 1 and str(flyer.user.pk) in told[0], told
    assert ended.state == "completed" and "The rest of the system was not tried" in ended.results["errors"][0]
    assert tapis.counters()[f"list:{flyer.system}"] <= scan.GIVE_UP_AFTER + 5


def test_a_worker_that_lost_a_discovery_stops_and_writes_nothing_more(flyer, tapis, settings, consuming):
    consuming.pause()
    settings.TAPIS_LISTING_CONNECTIONS = 2
    for number in range(20):
        flyer.flight(f"Lost{number:02d}", 1)
    tapis.fault("slow", operation="list", path="/Lost", seconds=0.3)
    job = begun(flyer)
    claimed = claims.claim(only=job.pk)
    TapisJob.objects.filter(pk=job.pk).update(lease_owner="another")
    began = time.monotonic()
    assert run.take_claimed_turn(claimed) == "more" and time.monotonic() - began < 30
    assert not SeenFlight.objects.filter(user=flyer.user).exists()
    tapis.end_faults()
    TapisJob.objects.filter(pk=job.pk).update(lease_owner="", lease_until=None, due_at=timezone.now())  # the other one let go of it
    assert run.run_here(job.pk).results["flights_discovered"] == 20


def test_what_a_worker_runs_into_that_lost_a_discovery_does_not_end_it(flyer, tapis, consuming):
    consuming.pause()
    job = begun(flyer)
    claimed = claims.claim(only=job.pk)
    TapisJob.objects.filter(pk=job.pk).update(lease_owner="another")
    tapis.fault("status", operation="systems", status=400, body="no")
    assert run.take_claimed_turn(claimed) == "stopped"
    job.refresh_from_db()
    assert (job.state, job.lease_owner, job.error) == ("running", "another", "")
    tapis.end_faults()
    TapisJob.objects.filter(pk=job.pk).update(lease_owner="", lease_until=None, due_at=timezone.now())  # the other one let go of it
    assert run.run_here(job.pk).state == "completed"


def test_a_job_whose_user_webodm_deleted_is_forgotten(flyer, consuming):
    from django.db import connection

    consuming.pause()
    TapisJob.objects.filter(state__in=TapisJob.ACTIVE).delete()  # of tests that are over
    job = begun(flyer)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tapis_tapisjob SET user_id = 2000000000, due_at = now() WHERE id = %s", [job.pk])
    assert claims.claim() is None
    assert not TapisJob.objects.filter(pk=job.pk).exists()
