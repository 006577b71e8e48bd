"""The whole road: upload by HTTP as a rig does, processing on a node, download of the result by its link."""
import io
import zipfile

import pytest
import requests

from app_extensions.openscan.models import LedgerEntry, Scan
from tests.openscan.flow import poke, send, wait_for
from tests.openscan.make_sets import photos
from tests.support.waiting import until


@pytest.mark.quick
def test_a_rigs_set_becomes_a_model(rig):
    members = photos(6)
    project = send(rig, members, parts=3)
    info = wait_for(rig, project, "processing done", "processing failed")
    assert info["status"] == "processing done", info
    assert info["progress"] == 1.0 and info["ulink"] == [] and info["error_text"] == ""

    answer = requests.get(info["dlink"], timeout=120)  # no login, no redirect
    assert answer.status_code == 200 and not answer.history
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert all("/" not in name and ".." not in name for name in names)
        assert {name.rpartition(".")[2] for name in names} >= {"obj", "mtl", "png", "glb"}
        obj = next(name for name in names if name.endswith(".obj"))
        text = archive.read(obj).decode()
        assert text.count("\nf ") >= 12
        for line in text.splitlines():
            if line.startswith("mtllib "):
                assert line.split()[1] in names

    scan = Scan.objects.get(name=project)
    size = scan.declared_bytes
    assert scan.charge == Scan.POSTED and scan.posted_bytes == size
    kinds = list(LedgerEntry.objects.filter(scan=scan).order_by("pk").values_list("kind", flat=True))
    assert kinds == ["hold", "post"]
    assert rig.get("getTokenInfo").json()["credit"] == 10**12 - size


def told_to(mode: str) -> dict[str, bytes]:
    """Three photos of which one's name tells the node's engine how to behave. All differ: a double would be left out."""
    first, second, third = photos(3).values()
    return {"scan01_001.jpg": first, "scan01_002.jpg": second, f"quick-{mode}.jpg": third}


def test_what_the_node_cannot_do_costs_nothing_and_says_why(rig):
    members = told_to("crash")
    project = send(rig, members)
    info = wait_for(rig, project, "processing done", "processing failed")
    assert info["status"] == "processing failed" and info["dlink"] == ""
    assert info["error_text"].startswith("Processing failed: ")
    # The status is the task's, live; the credit follows with the job that hears of it.
    until(lambda: poke() or rig.get("getTokenInfo").json()["credit"] == 10**12, every=0.4)
    assert Scan.objects.get(name=project).charge == Scan.REFUNDED


def test_photos_that_fit_no_model_are_not_our_fault(rig):
    members = told_to("fail")
    project = send(rig, members)
    info = wait_for(rig, project, "processing done", "processing failed")
    assert info["status"] == "processing failed"
    assert "Only 3 of 16 photos could be placed" in info["error_text"]
    scan = Scan.objects.get(name=project)
    until(lambda: poke() or Scan.objects.get(pk=scan.pk).state == Scan.FAILED, every=0.4)
    assert Scan.objects.get(pk=scan.pk).charge == Scan.POSTED
