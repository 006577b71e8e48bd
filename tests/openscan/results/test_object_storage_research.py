"""Public sets archived in object storage: with their consent, without anybody's name, and never a private one."""
import hashlib
import io
import json
import os

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from app_extensions.host import assets
from app_extensions.host.media import media_root
from app_extensions.openscan.ingest import run
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import ArchivedSet, Scan
from app_extensions.openscan.processing import finish
from app_extensions.openscan.results import research, research_export
from app_extensions.openscan.results.object_storage import archive, client, lifecycle
from app_extensions.openscan.upkeep import periodic
from dev.standins.s3 import BUCKET, PART_BYTES
from tests.openscan.crash import run_in_child, spread
from tests.openscan.finished import MODEL, fill
from tests.openscan.flow import started_scan, task_of, without_nodes
from tests.openscan.helpers import in_processes, private_token, public_token
from tests.openscan.make_sets import make_zip, photos
from tests.openscan.stored import in_a_thread


@pytest.fixture
def public(store):
    """A public set whose photos lie in WebODM, not processed yet."""
    return public_set()


def public_set() -> Scan:
    token, _ = public_token(owner=without_nodes())
    scan = started_scan(token, [make_zip(photos(3))])
    run.ingest(scan.pk)
    scan.refresh_from_db()
    return scan


def process(scan, files=None) -> None:
    """As WebODM leaves a task that was processed."""
    task = task_of(scan)
    fill(task, MODEL if files is None else files)
    task.status, task.processing_time = 40, 9000
    task.save()
    Scan.objects.filter(pk=scan.pk, released_at=None).update(released_at=timezone.now(), state=Scan.RELEASED)
    finish.finish(scan.pk)
    scan.refresh_from_db()


def archived(scan, store) -> dict:
    """What the archive holds of a scan: name within the set → bytes."""
    return {key.split("/", 3)[3]: store.read(key) for key in store.keys(f"openscan/research/scan-{scan.pk}-")}


def state_of(scan) -> str:
    return ArchivedSet.objects.get(scan=scan).state


def sent_of(scan, store) -> list:
    """What went to the scan's archive over the line, by name."""
    return [seen.key.split("/", 3)[3] for seen in store.line.seen
            if seen.method == "PUT" and seen.key.startswith(f"openscan/research/scan-{scan.pk}-")]


def test_a_set_cannot_be_fetched_where_no_bucket_is_named(public, store, settings, tmp_path):
    archive.archive_set(public.pk)
    entry = ArchivedSet.objects.get(scan=public)
    settings.OPENSCAN_S3_BUCKET = ""
    with pytest.raises(client.StorageError, match="the settings name no bucket"):
        archive.fetch(entry, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_photos_go_first_and_the_model_when_it_is_made(public, store):
    assert public.pk in archive.sets_to_archive(10_000)
    archive.archive_set(public.pk)
    held = archived(public, store)
    assert {name[len("photos/"):]: data for name, data in held.items() if name.startswith("photos/")} == photos(3)
    assert not [name for name in held if name.startswith("model/")] and state_of(public) == "stored"
    assert public.pk not in archive.sets_to_archive(10_000)
    process(public)
    assert public.pk in archive.sets_to_archive(10_000)
    store.line.seen.clear()
    archive.archive_set(public.pk)
    assert not [name for name in sent_of(public, store) if name.startswith("photos/")], "photos are not sent twice"
    held = archived(public, store)
    assert held["model/odm_textured_model_geo.obj"] == MODEL["odm_texturing/odm_textured_model_geo.obj"]
    entry = ArchivedSet.objects.get(scan=public)
    assert entry.files == len(held) - 1 and entry.size_bytes == sum(map(len, held.values())) - len(held["scan.json"])
    assert public.pk not in archive.sets_to_archive(10_000)


def test_the_manifest_says_what_and_why_and_nobodys_name(public, store):
    process(public)
    archive.archive_set(public.pk)
    held = archived(public, store)
    manifest = json.loads(held["scan.json"])
    assert "research" in manifest["consent"] and manifest["state"] == "completed" and manifest["scan"] == public.pk
    for folder in ("photos", "model"):
        assert {(one["name"], one["bytes"], one["sha256"]) for one in manifest[folder]} == {
            (name.partition("/")[2], len(data), hashlib.sha256(data).hexdigest())
            for name, data in held.items() if name.startswith(folder + "/")}
    text = held["scan.json"].decode()
    assert public.name not in text and "everybody" not in text and public.token.prefix not in text
    assert not [key for key in store.keys("") if public.name in key]


def test_private_sets_never_go_there(store, monkeypatch):
    token, _ = private_token(owner=without_nodes())
    scan = started_scan(token, [make_zip(photos(2))])
    run.ingest(scan.pk)
    process(scan)
    wanted = []
    monkeypatch.setattr(periodic, "dispatch", lambda name, *arguments, **_: wanted.append((name, *arguments)))
    monkeypatch.setattr(periodic, "_MOST_OBJECTS", 10_000)
    periodic.catch_up()
    assert ("archive_set", scan.pk) not in wanted
    archive.archive_set(scan.pk)
    Scan.objects.filter(pk=scan.pk).update(research_consent=True)  # whatever a row says: the token is private
    archive.archive_set(scan.pk)
    assert archived(scan, store) == {} and not ArchivedSet.objects.filter(scan=scan).exists()
    assert not [seen for seen in store.line.seen if "/research/" in seen.key]


def test_a_database_begun_anew_takes_nothing_from_an_older_archive(public, store):
    """Scan numbers come again; the sets of the site's earlier life stay what they are."""
    old = f"openscan/research/scan-{public.pk}/photos/of-another-life.jpg"
    store.client.put_object(Bucket=BUCKET, Key=old, Body=b"photo")
    archive.archive_set(public.pk)
    scans.reset_scan_row(public)
    lifecycle.tidy()
    assert archived(public, store) == {} and store.read(old) == b"photo"


def test_a_site_may_keep_research_sets_to_itself(public, store, settings):
    settings.OPENSCAN_S3_RESEARCH = "NO"
    assert archive.sets_to_archive(10) == []
    archive.archive_set(public.pk)
    assert archived(public, store) == {}


def test_twice_is_once(public, store):
    process(public)
    archive.archive_set(public.pk)
    before = archived(public, store)
    store.line.seen.clear()
    archive.archive_set(public.pk)
    assert sent_of(public, store) in ([], ["scan.json"]) and archived(public, store) == before


def test_an_archive_that_was_cut_goes_on(public, store):
    process(public, {**MODEL, "odm_texturing/texture.png": os.urandom(PART_BYTES + 1000)})
    store.line.fail(503, lambda seen: seen.key.endswith("model/texture.png") and seen.part == 2)
    archive.archive_set(public.pk)
    entry = ArchivedSet.objects.get(scan=public)
    assert entry.state == "writing" and entry.failures == 1 and "503" in entry.problem and entry.retry_at > timezone.now()
    assert "scan.json" not in archived(public, store), "not complete"
    assert list(archive.archived().filter(scan=public)) == [] and public.pk not in archive.sets_to_archive(10_000)
    ArchivedSet.objects.filter(scan=public).update(retry_at=None, failed_at=None)
    assert public.pk in archive.sets_to_archive(10_000)
    store.line.heal()
    archive.archive_set(public.pk)
    assert set(sent_of(public, store)) == {"model/texture.png", "scan.json"}, "the photos were there"
    assert state_of(public) == "stored" and ArchivedSet.objects.get(scan=public).problem == ""
    assert store.open_uploads("openscan/research/") == []


def test_killed_at_any_line(public, store, request):
    process(public)
    lines = run_in_child(lambda: archive.archive_set(public.pk))
    for line in spread(lines, lines // 3 if request.config.getoption("--long") else 3):
        scan = public_set()
        process(scan)
        run_in_child(lambda scan=scan: archive.archive_set(scan.pk), line)
        archive.archive_set(scan.pk)
        manifest = json.loads(archived(scan, store)["scan.json"])
        assert state_of(scan) == "stored" and len(manifest["photos"]) == 3
        assert len(archived(scan, store)) == 1 + len(manifest["photos"]) + len(manifest["model"])


def test_several_workers_at_once(public, store):
    process(public)
    in_processes(archive.archive_set, [public.pk] * 3)
    assert state_of(public) == "stored" and len(archived(public, store)) == ArchivedSet.objects.get(scan=public).files + 1
    assert ArchivedSet.objects.filter(scan=public).count() == 1


def test_it_survives_the_deletion_of_the_task_and_comes_back_in_an_export(public, store, tmp_path):
    process(public)
    archive.archive_set(public.pk)
    held = archived(public, store)
    task_of(public).delete()
    finish.finish(public.pk)
    assert Scan.objects.get(pk=public.pk).state == Scan.EXPIRED
    lifecycle.tidy()
    assert archived(public, store) == held and state_of(public) == "stored"
    out = io.StringIO()
    call_command("openscan_export_research", str(tmp_path / "out"), "--list", stdout=out)
    listed = out.getvalue()
    assert f"scan {public.pk}: 3 photos" in listed and "only in object storage" in listed
    found = {item.scan_id: item for item in research_export.export(tmp_path / "out")}
    assert found[public.pk].is_new
    assert {str(path.relative_to(found[public.pk].path)): path.read_bytes()
            for path in found[public.pk].path.rglob("*") if path.is_file()} == held
    assert not {item.scan_id: item for item in research_export.export(tmp_path / "out")}[public.pk].is_new


def test_what_was_changed_in_the_archive_is_not_exported(public, store, tmp_path):
    archive.archive_set(public.pk)
    task_of(public).delete()
    finish.finish(public.pk)
    name = sorted(photos(3))[0]
    key = f"{ArchivedSet.objects.get(scan=public).prefix}photos/{name}"
    archived_photo = store.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    store.client.put_object(Bucket=BUCKET, Key=key, Body=b"another photo")
    with pytest.raises(client.StorageError, match="is not what was archived"):
        list(research_export.export(tmp_path))
    assert not (tmp_path / f"scan-{public.pk}").exists()
    store.client.put_object(Bucket=BUCKET, Key=key, Body=archived_photo)  # other tests export all sets


def test_a_reset_takes_the_set_out_of_the_archive(public, store):
    process(public)
    archive.archive_set(public.pk)
    scans.reset_scan_row(public)
    periodic.tidy_up()
    assert archived(public, store) == {} and state_of(public) == "gone"
    archive.archive_set(public.pk)
    assert archived(public, store) == {}


def test_a_reset_while_it_is_archived(public, store):
    def reset() -> None:
        scans.reset_scan_row(Scan.objects.get(pk=public.pk))
        connection.close()

    store.line.fail(503, lambda seen: seen.key.endswith("scan.json"), times=1, then=lambda: in_a_thread(reset))
    archive.archive_set(public.pk)
    assert state_of(public) == "leaving" and list(archive.archived().filter(scan=public)) == []
    lifecycle.tidy()
    assert archived(public, store) == {} and state_of(public) == "gone"


def held_of(scan) -> "list":
    return sorted(path.name for path in (media_root() / "openscan" / "held").glob(f"{scan.pk}/*/*"))


def test_a_task_deleted_before_it_was_archived_leaves_nothing_half(public, store, monkeypatch):
    """Where nothing can be held: no hard links on that file system."""
    store.line.fail(503, lambda seen: seen.key.endswith("scan.json"))
    archive.archive_set(public.pk)
    assert archived(public, store)
    store.line.heal()

    def no_links(source, target) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    task_of(public).delete()
    finish.finish(public.pk)
    lifecycle.tidy()
    assert archived(public, store) == {} and state_of(public) == "gone"
    assert held_of(public) == []


@pytest.mark.parametrize("away", [False, True])
def test_a_task_deleted_before_it_was_archived_is_archived_all_the_same(public, store, away):
    """Neither the minute until the next look nor a storage that is away costs a set; and no photo is copied meanwhile."""
    process(public)
    if away:
        store.line.fail(503, lambda seen: seen.key.endswith("scan.json"))
        archive.archive_set(public.pk)
        assert "scan.json" not in archived(public, store)
    task = task_of(public)
    photo = research.photo_files(task)[0]
    inode = photo.stat().st_ino
    task.delete()
    finish.finish(public.pk)
    assert not photo.exists() and Scan.objects.get(pk=public.pk).webodm_task_id is None
    assert [path.stat().st_ino for path in (media_root() / "openscan" / "held").glob(f"{public.pk}/photos/{photo.name}")] == [inode]
    lifecycle.tidy()
    store.line.heal()
    ArchivedSet.objects.filter(scan=public).update(retry_at=None, failed_at=None)
    assert public.pk in archive.sets_to_archive(10_000)
    archive.archive_set(public.pk)
    manifest = json.loads(archived(public, store)["scan.json"])
    assert {one["name"] for one in manifest["photos"]} == set(photos(3)) and manifest["model"] and manifest["state"] == "completed"
    assert state_of(public) == "stored" and held_of(public) == [] and public.pk not in archive.sets_to_archive(10_000)


def test_what_is_archived_or_taken_back_is_not_held(public, store):
    archive.archive_set(public.pk)
    other = public_set()
    reset = public_set()
    task_of(public).delete()
    assert held_of(public) == [], "the archive has it"
    task_of(other).delete()
    assert held_of(other)
    scans.reset_scan_row(other)
    scans.reset_scan_row(reset)
    task_of(reset).delete()
    assert held_of(reset) == []
    lifecycle.tidy()
    assert held_of(other) == [] and other.pk not in archive.sets_to_archive(10_000)


def test_private_sets_and_sites_without_an_archive_hold_nothing(public, store, settings):
    token, _ = private_token(owner=without_nodes())
    private = started_scan(token, [make_zip(photos(2))])
    run.ingest(private.pk)
    task_of(private).delete()
    settings.OPENSCAN_S3_RESEARCH = "NO"
    task_of(public).delete()
    assert held_of(private) == held_of(public) == []


def test_a_new_model_takes_the_place_of_the_old_one(public, store):
    process(public, {**MODEL, "odm_texturing/second.png": b"only in the first run"})
    archive.archive_set(public.pk)
    assert "model/second.png" in archived(public, store)
    task = task_of(public)
    (assets.assets_dir(task) / "odm_texturing" / "second.png").unlink()
    process(public, {"odm_texturing/texture.png": b"another"})
    archive.archive_set(public.pk)
    held = archived(public, store)
    assert "model/second.png" not in held and held["model/texture.png"] == b"another"
    assert "second.png" not in held["scan.json"].decode()
