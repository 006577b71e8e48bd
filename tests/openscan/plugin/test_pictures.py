"""A tour of the pages with a picture of each at both widths. `python -m dev.pictures` keeps them for the documentation."""
import os
import shutil

from django.contrib.auth.models import User

from app_extensions.host import assets, heartbeat
from app_extensions.openscan import page_links
from app_extensions.openscan.accounts import self_service, token_requests
from app_extensions.openscan.models import RequestAttempt, Scan
from app_extensions.openscan.results import packing
from tests.openscan.flow import poke, task_of
from tests.openscan.helpers import private_token
from tests.openscan.make_sets import PHOTOS
from tests.openscan.plugin.test_scan_pages import model_shown, sign_in
from tests.support.waiting import until

#: A GLB to show in place of the quick engine's cube.
MODEL = os.environ.get("PICTURES_MODEL", "")


def test_makers(camera, live_db, tmp_path):
    page, take = camera
    token, text = private_token(50 * 10**9)
    page.goto("/openscan/")
    take("start")
    page.goto("/openscan/ask/")
    take("ask")
    sign_in(page, text)
    page.goto("/openscan/scans/")
    page.wait('#os-total:has-text("no scans yet")')
    take("scans-empty")
    folder = tmp_path / "Bananas"
    shutil.copytree(PHOTOS / "banana", folder)
    page.goto("/openscan/upload/")
    page.wait('#os-limits:has-text("At most")')
    page.choose_files("#os-folder", folder)
    page.wait("#os-go:enabled")
    until(lambda: page.evaluate("[...document.querySelectorAll('.os-thumb img')].every(each => each.naturalWidth)"))
    take("upload")
    page.click("#os-go")
    page.wait_url("**/openscan/scans/*/")

    def done():
        poke()
        return Scan.objects.filter(token=token, state=Scan.DONE).first()

    scan = until(done, 240, 0.4)
    if MODEL:
        task = task_of(scan)
        shutil.copy(MODEL, assets.assets_dir(task) / "odm_texturing" / "odm_textured_model_geo.glb")
        Scan.objects.filter(pk=scan.pk).update(result_source=packing.source_of(task))
    page.goto(f"/openscan/scans/{page_links.page_key(scan)}/")
    page.wait(".os-history")
    if os.environ.get("PICTURES"):
        model_shown(page)
    take("scan")
    page.dark()
    take("scan-dark")
    page.goto("/openscan/scans/")
    page.wait(".os-scan")
    take("scans")
    page.goto("/openscan/token/")
    page.click('summary:has-text("What used the credit")')
    page.wait(".os-ledger li")
    take("token")


def test_administrators(camera, stack, live_db):
    page, take = camera
    RequestAttempt.objects.all().delete()
    heartbeat.note()  # beat's part
    token_requests.request_token("grace@example.org", "Grace", "Hopper", "198.51.100.0/24")
    self_service.ask_for_more(private_token(10**9)[0], 20 * 10**9, "A workshop with 40 children")
    page.become(User.objects.get(username=stack.config["admin_user"]))
    page.goto("/plugins/openscan_cloud/manage/")
    page.wait("#os-manage section")
    page.wait(".uplot >> nth=2")
    take("manage")
    page.goto("/plugins/openscan_cloud/tokens/")
    page.wait(".os-legend")
    take("tokens-in-webodm")
    page.goto("/plugins/openscan_cloud/")
    take("queue")
