"""``manage discover_tapis_flights``: output, exit codes, dry run, JSON, and a progress bar on a terminal."""
import json
import os
import pty
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import call_command

from dev.sandbox.stack import HOST_DIR

COMMAND = "discover_tapis_flights"


def called(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in this process. ``manage`` starts a process for it."""
    out, told, code = StringIO(), StringIO(), 0
    try:
        call_command(COMMAND, *arguments, stdout=out, stderr=told)
    except SystemExit as ended:
        code = ended.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), told.getvalue())


def test_dry_run_makes_nothing_and_says_what_would_be(flyer):
    flyer.flight("Flight001", 3)
    done = called("--user", flyer.name, "--dry-run")
    assert "Flight001" in done.stdout and flyer.system in done.stdout and "(dry run)" in done.stdout
    assert "1 systems scanned, 1 flights discovered, 1 projects would be created." in done.stdout
    assert flyer.get("tapis-storage/flight-projects/")["count"] == 0


def test_it_creates_projects_and_prints_a_table(flyer, manage):
    flyer.flight("Flight001", 3)
    flyer.flight("Flight002", 2)
    done = manage(COMMAND, "--user", flyer.name)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["FLIGHT", "SYSTEM", "IMAGES", "PROJECT"]
    assert lines[1].split() == ["Flight001", flyer.system, "3", str(flyer.project("Flight001"))]
    assert "2 projects created." in lines[-1]
    assert "directories: 2 of 2" in done.stderr and "\r" not in done.stderr and "%|" not in done.stderr  # no bar without a terminal
    again = called("--user", flyer.name, "--client-id", flyer.client.client_id)
    assert "0 projects created." in again.stdout


def test_json_and_sync(flyer):
    flyer.flight("Synced", 3)
    done = called("--user", flyer.name, "--sync", "--json")
    told = json.loads(done.stdout)
    assert told["success"] is True and told["results"]["projects_created"] == 1
    assert told["syncs"][0]["state"] == "completed" and told["syncs"][0]["images_done"] == 3
    assert len(flyer.files("Synced")) == 3


def test_a_flight_whose_project_was_deleted_is_left_alone(flyer):
    from app_extensions.host import projects

    for name in ("Kept", "Deleted"):
        flyer.flight(name, 1)
    flyer.import_all()
    projects.delete_project(projects.get_project(flyer.project("Deleted")))
    done = called("--user", flyer.name, "--sync", "--json")
    assert done.returncode == 0 and [job["flight_name"] for job in json.loads(done.stdout)["syncs"]] == ["Kept"]


def test_only_named_systems(flyer, tapis):
    other = tapis.system("ptdatax.project.named-" + flyer.name, owner=flyer.name)
    tapis.flight(other, "Named", 1)
    flyer.flight("Unnamed", 1)
    done = called("--user", flyer.name, "--systems", other, "--json")
    assert [item["flight_name"] for item in json.loads(done.stdout)["results"]["created_projects"]] == ["Named"]


def test_exit_codes(flyer, tapis, manage, stack, live_db, unique):
    from tests.support.flights import Flyer

    assert called("--user", "nobody-" + unique).returncode == 2
    assert called("--user", flyer.name, "--systems", "elsewhere").returncode == 2
    stranger = Flyer(stack.address(), tapis, "s" + unique, token=False)
    done = called("--user", stranger.name, "--json")
    assert done.returncode == 3 and json.loads(done.stdout)["success"] is False
    assert "No Tapis token found" in json.loads(done.stdout)["error"]
    missing = "ptdatax.project.missing-" + unique
    done = called("--user", flyer.name, "--systems", missing)
    assert done.returncode == 4 and "System not accessible" in done.stderr
    bad = tapis.system("ptdatax.project.nocred-" + unique, owner=flyer.name, has_credentials=False)
    flyer.flight("Good", 1)
    done = manage(COMMAND, "--user", flyer.name, check=False)
    assert done.returncode == 1 and f"error: {bad}: System not accessible" in done.stderr and "Good" in done.stdout


def test_nothing_found_is_no_failure(flyer):
    done = called("--user", flyer.name)
    assert "No flight directories found" in done.stdout and done.returncode == 0


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_a_bar_on_a_terminal(flyer, ground):
    for number in range(5):
        flyer.flight(f"F{number}", 1)
    leader, follower = pty.openpty()
    done = subprocess.Popen([sys.executable, str(HOST_DIR / "manage.py"), COMMAND, "--user", flyer.name, "--dry-run"],
                            env=ground.environment(), cwd=HOST_DIR, stdout=subprocess.PIPE, stderr=follower)
    os.close(follower)
    seen = b""
    while True:
        try:
            block = os.read(leader, 4096)
        except OSError:  # how Linux tells that the other side is closed
            break
        if not block:
            break
        seen += block
    assert done.wait(60) == 0
    done.stdout.close()
    os.close(leader)
    assert b"directories:" in seen and b"5/5" in seen and b"\r" in seen
