"""Previews of flights through the live API: fetched once, kept, each user's own, and never for ever wrong."""
import base64
import io
import os
import signal

import pytest
from PIL import Image

from tests.support.exif_photos import exif, jpeg, place, with_exif
from tests.support.flights import Flyer
from tests.support.waiting import until


def photo(number=0, *, thumbnail=True, **more):
    """A photo as a drone takes it: each a bit further north."""
    fields = {"make": "DJI", "model": "FC6310", "taken": f"2024:05:{1 + number:02d} 10:20:30",
              "gps": place(30 + number / 1000, -97.5), **more}
    return with_exif(jpeg((200, 150), noise=True), exif(**fields, thumbnail=jpeg((160, 120)) if thumbnail else b""))


def lay(flyer, name, photos, prefix="IMG_"):
    """A flight of such photos, known to the user's catalog."""
    for number, content in enumerate(photos):
        flyer.tapis.file(flyer.system, f"{name}/code/images/{prefix}{number:03d}.JPG", content=base64.b64encode(content).decode())


def discover(flyer):
    flyer.post("tapis-storage/discover-flights/")


def ask(flyer, *names, again=False, status=None):
    """The previews of some flights, without waiting."""
    flights = [{"flight_name": name, "system_id": flyer.system} for name in names]
    answer = flyer.call("POST", "tapis-storage/flight-previews/", {"flights": flights, **({"again": True} if again else {})})
    assert answer.status_code in ((200, 202) if status is None else (status,)), answer.text
    return answer.json()


def previews(flyer, *names, again=False):
    """The previews once none of them waits any more."""
    found = ask(flyer, *names, again=again)["previews"]
    ids = ",".join(str(each["id"]) for each in found)
    until(lambda: flyer.get(f"tapis-storage/flight-previews/?ids={ids}")["complete"])
    return flyer.get(f"tapis-storage/flight-previews/?ids={ids}")["previews"]


def test_what_a_preview_tells(flyer, tapis):
    lay(flyer, "Coast", [photo(number) for number in range(10)])
    discover(flyer)
    first = ask(flyer, "Coast", status=202)
    assert first["complete"] is False and first["previews"][0]["state"] == "waiting"
    (told,) = previews(flyer, "Coast")
    assert (told["flight_name"], told["system_id"], told["tenant_id"]) == ("Coast", flyer.system, "portals")
    assert (told["state"], told["error"], told["needs_login"], told["image_count"]) == ("ready", "", False, 10)
    assert (told["taken_from"], told["taken_until"], told["camera"]) == ("2024-05-01", "2024-05-10", "DJI FC6310")
    assert [image["name"] for image in told["images"]] == ["IMG_000.JPG", "IMG_003.JPG", "IMG_006.JPG", "IMG_009.JPG"]
    assert [image["latitude"] for image in told["images"]] == [30.0, 30.003, 30.006, 30.009]
    assert {image["longitude"] for image in told["images"]} == {-97.5}
    assert told["images"][1]["taken_at"] == "2024-05-04T10:20:30" and told["images"][1]["problem"] == ""
    picture = flyer.call("GET", told["images"][0]["thumbnail"][len("/api/"):])
    assert (picture.headers["Content-Type"], picture.headers["X-Content-Type-Options"]) == ("image/jpeg", "nosniff")
    with Image.open(io.BytesIO(picture.content)) as image:
        assert image.size == (160, 120)
    assert told["taken_from"] and tapis.counters()["content"] == 4


def test_a_preview_is_fetched_once_and_kept(flyer, tapis):
    lay(flyer, "Kept", [photo(), photo(1)])
    discover(flyer)
    before = previews(flyer, "Kept")
    tapis._call("POST", "counters/reset")
    assert ask(flyer, "Kept", status=200)["previews"] == before
    assert not {"list", "content"} & set(tapis.counters())
    flyer.tapis.file(flyer.system, "Kept/code/images/IMG_000.JPG", content=base64.b64encode(photo(model="Other", make="")).decode())
    assert previews(flyer, "Kept", again=True)[0]["images"][0]["camera"] == "Other"


def test_only_the_first_bytes_of_large_images_are_read(flyer, tapis):
    large = with_exif(jpeg((200, 150)), exif(model="Large", thumbnail=jpeg((160, 120))))
    flyer.tapis.file(flyer.system, "Large/code/images/a.jpg", content=base64.b64encode(large).decode(), size_bytes=200_000_000)
    without = with_exif(jpeg((1200, 900), noise=True), exif(model="Large"))
    flyer.tapis.file(flyer.system, "Large/code/images/b.jpg", content=base64.b64encode(without).decode(), size_bytes=50_000_000)
    discover(flyer)
    (told,) = previews(flyer, "Large")
    assert [bool(image["thumbnail"]) for image in told["images"]] == [True, False] and told["camera"] == "Large"
    assert tapis.counters().get("content_bytes", 0) == 0, "neither was read to its end"


def test_odd_images_beside_good_ones(flyer, tapis):
    lay(flyer, "Odd", [photo(thumbnail=False), b"GIF89a" * 100, jpeg(), photo(gps=place(0, 0), taken="0000:00:00 00:00:00")])
    discover(flyer)
    (told,) = previews(flyer, "Odd")
    assert [image["problem"] for image in told["images"]] == ["", "This is not a JPEG photo.", "", ""]
    assert [bool(image["thumbnail"]) for image in told["images"]] == [True, False, True, True]
    assert [image["latitude"] for image in told["images"]] == [30.0, None, None, None]
    assert (told["state"], told["taken_from"], told["taken_until"]) == ("ready", "2024-05-01", "2024-05-01")


def test_a_link_is_followed_and_one_that_leads_nowhere_is_said(flyer, tapis):
    lay(flyer, "Links", [photo()])
    tapis.file(flyer.system, "Links/code/images/LINK.JPG", "link", target="IMG_000.JPG")
    tapis.file(flyer.system, "Links/code/images/NOWHERE.JPG", "link", target="gone.jpg")
    discover(flyer)
    (told,) = previews(flyer, "Links")
    assert [(image["camera"], image["problem"]) for image in told["images"]] == [
        ("DJI FC6310", ""), ("DJI FC6310", ""), ("", "Tapis no longer finds it")]


def test_images_that_cannot_be_read_can_be_tried_again(flyer, tapis):
    lay(flyer, "Later", [photo()])
    discover(flyer)
    tapis.fault("status", operation="content", status=500, body='{"message": "SSH trouble"}')
    (told,) = previews(flyer, "Later")
    assert (told["state"], told["images"]) == ("failed", [])
    assert told["error"] == "None of the images could be read. IMG_000.JPG: Tapis answers 500 (2 attempts)"
    tapis.end_faults()
    assert ask(flyer, "Later", status=200)["previews"][0]["state"] == "failed", "who only looks asks Tapis no more for a while"
    assert previews(flyer, "Later", again=True)[0]["state"] == "ready"


def test_a_failure_is_not_kept_for_ever(flyer, tapis):
    from django.utils import timezone

    from app_extensions.tapis.catalog.previews import FAILURE_HOLDS
    from app_extensions.tapis.models import FlightPreview

    lay(flyer, "Was", [photo()])
    discover(flyer)
    tapis.fault("status", operation="list", status=502, body="bad gateway", content_type="text/html")
    (told,) = previews(flyer, "Was")
    assert told["state"] == "failed" and "502" in told["error"]
    tapis.end_faults()
    FlightPreview.objects.filter(pk=told["id"]).update(ended_at=timezone.now() - FAILURE_HOLDS)
    assert previews(flyer, "Was")[0]["state"] == "ready"


def test_a_flight_that_is_gone(flyer, tapis):
    lay(flyer, "Gone", [photo()])
    discover(flyer)
    tapis.file(flyer.system, "Gone", "remove")
    (told,) = previews(flyer, "Gone")
    assert (told["state"], told["error"]) == ("failed", "Tapis no longer finds this flight. Discover flights again.")
    discover(flyer)
    (told,) = ask(flyer, "Gone", status=200)["previews"]
    assert (told["id"], told["state"], told["error"]) == (
        None, "failed", "Your discoveries did not find this flight. Discover flights again.")


def test_one_call_finds_out_that_a_system_is_down(flyer, tapis):
    names = [f"Down{number}" for number in range(12)]
    for name in names:
        flyer.flight(name, 1)
    discover(flyer)
    tapis._call("POST", "counters/reset")
    tapis.fault("status", operation="list", status=403, body='{"message": "no"}')
    told = previews(flyer, *names)
    assert {each["state"] for each in told} == {"failed"} and all("forbids" in each["error"] for each in told)
    assert tapis.counters()["list"] <= 4, "those that were under way, and no others"


def test_a_login_that_ended_is_said_and_the_next_one_helps(flyer, tapis):
    from app_extensions.tapis.models import TapisOAuth2Token

    lay(flyer, "Login", [photo()])
    discover(flyer)
    tapis.settings(refresh="refused")
    flyer.store_token()
    tapis.expire(flyer.name)
    (told,) = previews(flyer, "Login")
    assert (told["state"], told["needs_login"]) == ("failed", True) and "Log in to Tapis again" in told["error"]
    (told,) = ask(flyer, "Login", status=200)["previews"]
    assert told["needs_login"] and not TapisOAuth2Token.objects.get(user=flyer.user).is_valid
    tapis.settings(refresh="works")
    flyer.store_token()
    assert previews(flyer, "Login")[0]["state"] == "ready"


def test_a_job_for_previews_is_no_news(flyer, tapis):
    """Neither mail, nor a line among discoveries and syncs."""
    from app_extensions.tapis.models import TapisJob

    lay(flyer, "Quiet", [photo()])
    discover(flyer)
    before = flyer.get("tapis-storage/jobs/")
    previews(flyer, "Quiet")
    job = TapisJob.objects.get(user=flyer.user, kind="preview")
    until(lambda: TapisJob.objects.get(pk=job.pk).state == "completed")
    assert not TapisJob.objects.get(pk=job.pk).to_tell
    assert flyer.get("tapis-storage/jobs/") == before


def test_nobody_sees_the_previews_of_another(flyer, tapis, stack, unique):
    lay(flyer, "Mine", [photo()])
    discover(flyer)
    (mine,) = previews(flyer, "Mine")
    other = Flyer(stack.address(), tapis, "o" + unique)
    assert other.get(f"tapis-storage/flight-previews/?ids={mine['id']}")["previews"] == []
    assert other.call("GET", mine["images"][0]["thumbnail"][len("/api/"):]).status_code == 404
    answer = other.post("tapis-storage/flight-previews/", {"flights": [{"flight_name": "Mine", "system_id": flyer.system}]})
    assert [(each["id"], each["state"]) for each in answer["previews"]] == [(None, "failed")]
    assert flyer.call("GET", f"tapis-storage/flight-previews/{mine['id']}/9.jpg").status_code == 404


def test_with_a_tapis_token_in_the_request(flyer, tapis, stack, unique):
    from app_extensions.tapis.models import TapisJob, TapisOAuth2Token

    lay(flyer, "Bearer", [photo()])
    discover(flyer)
    TapisOAuth2Token.objects.filter(user=flyer.user).delete()
    headers = {"Authorization": f"Bearer {tapis.token(flyer.name)}"}
    asked = {"flights": [{"flight_name": "Bearer", "system_id": flyer.system, "tenant_id": "portals"}]}
    answer = flyer.call("POST", "tapis-storage/flight-previews/", asked, headers)
    assert answer.status_code == 202, answer.text
    found = answer.json()["previews"][0]["id"]
    until(lambda: flyer.get(f"tapis-storage/flight-previews/?ids={found}")["previews"][0]["state"] == "ready")
    until(lambda: TapisJob.objects.get(user=flyer.user, kind="preview").state == "completed")
    assert TapisJob.objects.get(user=flyer.user, kind="preview").access_token == ""


@pytest.mark.parametrize("body, field", [
    ({}, "flights"), ({"flights": []}, "flights"), ({"flights": [{"flight_name": "a", "system_id": "ptdatax.project.A"}] * 51}, "flights"),
    ({"flights": ["a"]}, "flights[0]"), ({"flights": [{"flight_name": "a/b", "system_id": "ptdatax.project.A"}]}, "flights[0].flight_name"),
    ({"flights": [{"flight_name": "a", "system_id": "ptdatax.project.A", "tenant_id": 7}]}, "flights[0].tenant_id"),
    ({"flights": [{"flight_name": "a", "system_id": "ptdatax.project.A"}], "again": "maybe"}, "again"),
])
def test_a_request_that_makes_no_sense_is_400(flyer, body, field):
    answer = flyer.post("tapis-storage/flight-previews/", body, 400)
    assert answer["field"] == field


@pytest.mark.parametrize("ids", ["", "a", "1,b", "-1", "99999999999", ",".join(map(str, range(1, 52)))])
def test_numbers_that_cannot_be_are_400(flyer, ids):
    answer = flyer.call("GET", f"tapis-storage/flight-previews/?ids={ids}")
    assert answer.status_code == 400 and answer.json()["field"] == "ids"


def test_who_is_not_signed_in_gets_nothing(flyer):
    for path in ("flight-previews/?ids=1", "flight-previews/1/1.jpg"):
        assert flyer.call("GET", f"tapis-storage/{path}", headers={"Authorization": ""}).status_code == 401


def job_that_waits(flyer, consuming, *names):
    """A job for previews of flights with a photo each, before any worker takes it."""
    from app_extensions.tapis.models import TapisJob

    for name in names:
        lay(flyer, name, [photo()])
    discover(flyer)
    consuming.pause()
    for name in names:
        ask(flyer, name)
    return TapisJob.objects.get(user=flyer.user, kind="preview")


def test_a_killed_worker_costs_the_flights_it_had_in_hand(flyer, tapis, stack, running_worker):
    import psutil

    from app_extensions.tapis import jobs
    from app_extensions.tapis.models import FlightPreview

    names = [f"Killed{number:02d}" for number in range(8)]
    for name in names:
        lay(flyer, name, [photo()])
    discover(flyer)
    tapis.fault("slow", operation="content", seconds=1.0)
    ask(flyer, *names)
    mine = FlightPreview.objects.filter(seen__user=flyer.user)
    until(lambda: mine.filter(state="ready").exists())
    parent = psutil.Process(running_worker.pid)
    for process in [*parent.children(recursive=True), parent]:
        os.kill(process.pid, signal.SIGKILL)
    until(lambda: not running_worker.running())
    assert mine.filter(state="waiting").exists()
    tapis.end_faults()
    stack.services.pop("worker")
    stack.start(["worker"])
    ready = dict(mine.filter(state="ready").values_list("pk", "ended_at"))

    def over() -> bool:
        jobs.take_up_again()  # beat's part, once a minute
        return mine.filter(state="ready").count() == 8

    until(over, says=lambda: list(mine.values("state", "error", "attempts")))
    assert dict(mine.filter(pk__in=ready).values_list("pk", "ended_at")) == ready, "what was there was not fetched again"


def test_a_preview_that_kills_its_workers_is_given_up(flyer, consuming):
    from app_extensions.tapis import jobs
    from app_extensions.tapis.models import FlightPreview, SyncBatch
    from app_extensions.tapis.sync import claims, run
    from app_extensions.tapis.sync import previews as work

    job = job_that_waits(flyer, consuming, "Poison")
    row = FlightPreview.objects.get(seen__user=flyer.user)
    for _ in range(work.MOST_ATTEMPTS):  # of workers that died after they had begun
        claimed = claims.claim(only=job.pk)
        assert [each.pk for each in work._next(claimed.job, 4)] == [row.pk]
        SyncBatch.objects.filter(pk=claimed.batch.pk).update(lease_until="2020-01-01T00:00:00Z")
    assert run.run_here(job.pk).state == "completed" and not jobs.due().filter(pk=job.pk).exists()
    row.refresh_from_db()
    assert (row.state, row.error) == ("failed", work.TOO_OFTEN)


def test_a_client_that_was_deleted_ends_the_previews_of_its_own_tenant_alone(flyer, consuming):
    """Before, all of the user's previews failed, those of other tenants too."""
    from django.utils import timezone

    from app_extensions.tapis.models import FlightPreview, SeenFlight, TapisJob
    from app_extensions.tapis.sync import run

    job = job_that_waits(flyer, consuming, "Here")
    elsewhere = SeenFlight.objects.create(user=flyer.user, base_url="https://other.example.org", tenant_id="other", system_id="other",
                                          name="There", seen_at=timezone.now())
    FlightPreview.objects.create(seen=elsewhere)
    TapisJob.objects.filter(pk=job.pk).update(client=None)  # as the database does when a client is deleted
    assert run.run_here(job.pk).state == "failed"
    states = FlightPreview.objects.filter(seen__user=flyer.user).values_list("seen__name", "state")
    assert dict(states) == {"Here": "failed", "There": "waiting"}


def test_one_worker_at_a_time_fetches_a_user_s_previews(flyer, consuming, tapis, settings):
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import claims, run

    settings.TAPIS_LEASE_SECONDS = 600  # this machine may be slow
    job = job_that_waits(flyer, consuming, "One", "Two")
    claimed = claims.claim(only=job.pk)
    assert claimed.batch is not None and claimed.batch.connections >= 1
    assert claims.claim(only=job.pk) is None
    tapis._call("POST", "counters/reset")
    assert run.take_claimed_turn(claimed) == "done"
    assert tapis.counters()["content"] == 2 and TapisJob.objects.get(pk=job.pk).state == "completed"
    assert run.run_here(job.pk).state == "completed"


def test_what_a_worker_brings_that_was_taken_for_dead_is_left_out(flyer, consuming):
    from app_extensions.tapis.models import FlightPreview, PreviewImage, SyncBatch
    from app_extensions.tapis.sync import claims, run
    from app_extensions.tapis.sync import previews as work

    job = job_that_waits(flyer, consuming, "Twice")
    slow = claims.claim(only=job.pk)
    (row,) = work._next(slow.job, 4)
    SyncBatch.objects.filter(pk=slow.batch.pk).update(lease_until="2020-01-01T00:00:00Z")
    assert run.run_here(job.pk).state == "completed"
    before = FlightPreview.objects.get(pk=row.pk).ended_at
    work._write(row, work._Looked([PreviewImage(number=1, name="late.jpg")]))
    assert FlightPreview.objects.get(pk=row.pk).ended_at == before
    assert [image.name for image in row.images.all()] == ["IMG_000.JPG"]
    assert run.take_claimed_turn(slow) == "stopped"


def test_asking_while_the_job_ends_loses_nothing(flyer, consuming, settings):
    """The job looks whether something waits under the lock that asking takes first."""
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import claims
    from app_extensions.tapis.sync import previews as work

    settings.TAPIS_LEASE_SECONDS = 600
    for name in ("Before", "After"):
        lay(flyer, name, [photo()])
    discover(flyer)
    consuming.pause()
    ask(flyer, "Before")
    job = TapisJob.objects.get(user=flyer.user, kind="preview")
    claimed = claims.claim(only=job.pk)
    assert not work._complete(claimed.job), "one waits"
    assert work.take_turn(claimed.job, claimed.batch) == "done"
    ask(flyer, "After")
    latest = TapisJob.objects.filter(user=flyer.user, kind="preview").latest("created_at")
    assert latest.pk != job.pk and latest.state == "queued"


def test_previews_that_nobody_looks_at_are_forgotten(flyer):
    from datetime import timedelta

    from django.utils import timezone

    from app_extensions.tapis.models import FlightPreview, PreviewImage, SeenFlight
    from app_extensions.tapis.tasks import forget_old_tapis_jobs

    for name in ("Old", "Used"):
        lay(flyer, name, [photo()])
    discover(flyer)
    old, used = (each["id"] for each in previews(flyer, "Old", "Used"))
    FlightPreview.objects.filter(pk__in=[old, used]).update(used_at=timezone.now() - timedelta(days=91))
    flyer.get(f"tapis-storage/flight-previews/?ids={used}")
    forget_old_tapis_jobs()
    assert not FlightPreview.objects.filter(pk=old).exists() and not PreviewImage.objects.filter(preview=old).exists()
    assert FlightPreview.objects.filter(pk=used).exists() and SeenFlight.objects.filter(user=flyer.user).count() == 2


def test_a_flight_s_preview_goes_with_it(flyer, tapis):
    from app_extensions.tapis.models import FlightPreview

    lay(flyer, "Leaves", [photo()])
    flyer.flight("Stays", 1)
    discover(flyer)
    previews(flyer, "Leaves")
    tapis.file(flyer.system, "Leaves", "remove")
    discover(flyer)
    assert not FlightPreview.objects.filter(seen__user=flyer.user, seen__name="Leaves").exists()


def test_a_preview_counts_the_images_of_a_flight_that_was_not_counted(flyer, tapis):
    from app_extensions.tapis.models import SeenFlight

    photos = [photo(number) for number in range(3)]
    lay(flyer, "Uncounted", photos)
    discover(flyer)
    SeenFlight.objects.filter(user=flyer.user).update(image_count=None, total_bytes=None)
    (told,) = previews(flyer, "Uncounted")
    assert told["image_count"] == 3 and told["total_bytes"] == sum(map(len, photos))
