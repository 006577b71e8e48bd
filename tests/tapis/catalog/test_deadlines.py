"""What takes too long is given up and named: listings as a whole, answers that trickle, files that come too slowly."""
import pytest

from tests.support.flights import ready


@pytest.fixture
def access(flyer):
    from app_extensions.tapis.login.access import TapisAccess

    return TapisAccess(flyer.user, flyer.client)


def test_a_discovery_that_takes_too_long_gives_what_it_has_and_names_the_rest(flyer, tapis, access, settings):
    from app_extensions.tapis.catalog.flights import discover

    for number in range(40):
        flyer.flight(f"F{number:02d}", 1)
    other = tapis.system("ptdatax.project.stuck-" + flyer.name, owner=flyer.name)
    tapis.flight(other, "Never", 1)
    settings.TAPIS_LISTING_SECONDS, settings.TAPIS_LISTING_CONNECTIONS = 3.0, 2
    tapis.fault("slow", operation="list", path="/F", seconds=0.6)
    tapis.fault("slow", operation="list", path=f"^{other}/$", seconds=5)
    tapis._call("POST", "counters/reset")
    found = discover(access)
    names = [flight.flight_name for flight in found.flights]
    assert 0 < len(names) < 40 and names == sorted(names)
    assert tapis.counters()[f"list:{flyer.system}"] < 41, "no further call is made once the time is over"
    told = [error for error in found.errors if error.startswith(f"{flyer.system}: could not read F")]
    assert len(told) == 1 and "Listing stopped after 3 seconds in total" in told[0] and "more directories)" in told[0]
    assert list(found.failed) == [other] and any(error.startswith(f"{other}: ") for error in found.errors)


def test_an_answer_that_trickles_is_cut(flyer, tapis, access, settings):
    """Each byte comes in time; the answer never would."""
    from app_extensions.tapis.catalog.listing import TapisListing
    from app_extensions.tapis.problems import SystemNotAccessible

    flyer.flight("Drip", 200)
    settings.TAPIS_LISTING_SECONDS = 2.0
    tapis.fault("drip", operation="list", path="/Drip/", after_bytes=1, seconds=0.2)  # some hours for the whole
    with pytest.raises(SystemNotAccessible) as told:
        list(TapisListing(access).images(flyer.system, "Drip/code/images"))
    assert told.value.status == 502 and "stopped after 2 seconds in total" in told.value.detail
    tapis.end_faults()
    assert sum(len(page) for page in TapisListing(access).images(flyer.system, "Drip/code/images")) == 200


@pytest.mark.usefixtures("alone")
def test_a_sync_whose_listing_trickles_fails_with_its_reason_and_can_be_repeated(flyer, tapis, settings):
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import run

    ready(flyer, "Slow", 3)
    settings.TAPIS_LISTING_SECONDS = 2.0
    tapis.fault("drip", operation="list", after_bytes=1, seconds=0.2)
    assert run.sync_task(flyer.task("Slow")) is False
    job = TapisJob.objects.get(flight=flyer.row("Slow"))
    assert job.state == "failed" and "WO_TAPIS_LISTING_SECONDS" in job.error
    tapis.end_faults()
    assert run.sync_task(flyer.task("Slow")) is True and len(flyer.files("Slow")) == 3


def test_a_file_that_comes_too_slowly_is_fetched_again(flyer, tapis, access, settings, tmp_path, monkeypatch):
    from app_extensions.tapis.sync import content

    flyer.flight("Trickle", 1, size_bytes=400_000)
    monkeypatch.setattr(content, "LEAST_BYTES_A_SECOND", 400_000)
    settings.TAPIS_TIMEOUT = 1.0
    tapis.fault("drip", operation="content", times=1, after_bytes=100, seconds=0.2)
    fetcher = content.ContentFetcher(access)
    got = fetcher.fetch(flyer.system, "Trickle/code/images/IMG_00000.JPG", tmp_path / "image.jpg", 400_000)
    assert got.size == (tmp_path / "image.jpg").stat().st_size == 400_000 < got.moved
    fetcher.close()


def test_a_plan_that_was_given_to_another_worker_writes_nothing(flyer, tapis, access):
    """Its lease ran out while it listed."""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import plan

    ready(flyer, "Lost", 3)
    job, _ = jobs.start_sync(access, flyer.row("Lost"), queue=False)
    TapisJob.objects.filter(pk=job.pk).update(lease_owner="another", state="running")
    found = plan.make_plan(job, access, flyer.task("Lost"))
    job.lease_owner = "the first"
    plan.note_plan(job, found)
    job.refresh_from_db()
    assert (job.phase, job.images_total, job.lease_owner) == ("listing", 0, "another")
    job.lease_owner = "another"
    plan.note_plan(job, found)
    job.refresh_from_db()
    assert (job.phase, job.images_total) == ("fetching", 3)
    TapisJob.objects.filter(pk=job.pk).update(state="canceled")
