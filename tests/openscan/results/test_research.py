"""Public sets are kept for research and can be exported; private ones and what names people never are."""
import hashlib
import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from app_extensions.openscan.ingest import run
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import finish
from app_extensions.openscan.results import research, research_export
from tests.openscan.finished import MODEL, fill
from tests.openscan.flow import started_scan, task_of, without_nodes
from tests.openscan.helpers import private_token, public_token
from tests.openscan.make_sets import make_zip, photos

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def public():
    """A public set that was taken in and processed."""
    token, _ = public_token(owner=without_nodes())
    scan = started_scan(token, [make_zip(photos(3))])
    run.ingest(scan.pk)
    task = task_of(scan)
    fill(task, MODEL)
    task.status, task.processing_time = 40, 9000
    task.save()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    return scan


def exported(directory, **options):
    return {item.scan_id: item for item in research_export.export(directory, **options)}


def test_a_public_set_is_exported_with_its_consent_and_nobodys_name(public, tmp_path):
    item = exported(tmp_path)[public.pk]
    assert item.is_new
    found = {path.name: path.read_bytes() for path in (item.path / "photos").iterdir()}
    assert found == photos(3)
    assert (item.path / "model" / "odm_textured_model_geo.obj").read_bytes() == MODEL["odm_texturing/odm_textured_model_geo.obj"]
    manifest = json.loads((item.path / "scan.json").read_text())
    assert "research" in manifest["consent"] and manifest["processing_seconds"] == 9.0 and manifest["state"] == "completed"
    assert {photo["name"]: photo["sha256"] for photo in manifest["photos"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in photos(3).items()}
    text = (item.path / "scan.json").read_text()
    assert public.name not in text and "everybody" not in text and public.token.prefix not in text


def test_private_sets_are_never_exported(tmp_path):
    token, _ = private_token(owner=without_nodes())
    scan = started_scan(token, [make_zip(photos(2))])
    run.ingest(scan.pk)
    assert not Scan.objects.get(pk=scan.pk).research_consent
    assert scan.pk not in exported(tmp_path)


def test_a_reset_takes_the_set_out_of_exports(public, tmp_path):
    scans.reset_scan_row(public)
    assert public.pk not in exported(tmp_path)


def test_expired_results_do_not_end_the_consent(public, tmp_path):
    Scan.objects.filter(pk=public.pk).update(result_expires_at=timezone.now())
    finish.expire_results()
    assert Scan.objects.get(pk=public.pk).state == Scan.EXPIRED
    assert public.pk in exported(tmp_path)


def test_an_export_that_was_cut_goes_on(public, tmp_path):
    half = tmp_path / f".scan-{public.pk}.part" / "photos"
    half.mkdir(parents=True)
    (half / "left-over.jpg").write_bytes(b"half")
    assert exported(tmp_path)[public.pk].is_new
    assert not half.exists() and len(list((tmp_path / f"scan-{public.pk}" / "photos").iterdir())) == 3
    assert not exported(tmp_path)[public.pk].is_new


def test_a_set_whose_photos_are_gone_is_told_and_stops_no_other(public, tmp_path):
    """WebODM's "compact" removes a task's photos and keeps its model."""
    other = Scan.objects.get(pk=public.pk)
    for path in research.photo_files(task_of(public)):
        path.unlink()
    found = exported(tmp_path)
    assert "compacted" in found[other.pk].problem and not (tmp_path / f"scan-{other.pk}").exists()
    assert not list(tmp_path.glob(".scan-*"))


def test_a_set_whose_task_is_gone_is_not_listed(public, tmp_path, capsys):
    type(task_of(public)).objects.filter(pk=public.webodm_task_id).delete()  # in bulk: nobody is told, and the scan still names it
    call_command("openscan_export_research", str(tmp_path), "--list")
    assert f"scan {public.pk}:" not in capsys.readouterr().out


def test_the_command(public, tmp_path, manage, capsys):
    call_command("openscan_export_research", str(tmp_path / "out"), "--list")
    assert f"scan {public.pk}: 3 photos" in capsys.readouterr().out and not (tmp_path / "out").exists()
    tomorrow = (timezone.now() + timezone.timedelta(days=1)).strftime("%Y-%m-%d")
    call_command("openscan_export_research", str(tmp_path / "out"), "--since", tomorrow)
    assert "0 sets exported, 0" in capsys.readouterr().out
    with pytest.raises(CommandError, match="is not a day"):
        call_command("openscan_export_research", str(tmp_path), "--since", "soon")
    done = manage("openscan_export_research", str(tmp_path / "out"))
    assert "sets exported" in done.stdout and (tmp_path / "out" / f"scan-{public.pk}" / "scan.json").is_file()
