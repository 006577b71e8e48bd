"""What goes wrong between the uploader and a server that cannot say what it has: cuts, errors, slow lines, links that run out."""
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from openscan_uploader import ChangedPhotos, Client, Control, Refused, Unreachable, sending, waits
from openscan_uploader.waits import wait_seconds

from tests.support.original_cloud import TOKEN
from tests.support.waiting import until
from tests.uploader.conftest import SOURCE
from tests.uploader.test_original import contents


@pytest.fixture
def client(line) -> Client:
    """Over the line that breaks."""
    client = Client(line.address, TOKEN)
    client.token_info()
    return client


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 5))])
def test_cuts_at_random_bytes(client, cloud, line, make_folder, seed):
    folder, rng = make_folder(count=6, size=100), random.Random(seed)
    line.cuts[:] = [rng.randrange(1, 9_000) for _ in range(6)]
    line.answer_cuts[:] = [rng.randrange(1, 100) for _ in range(3)]
    client.upload(folder, part_bytes=8_000, at_once=3)
    assert line.was_cut >= 6 and cloud.only().members == contents(folder)


def test_every_other_answer_is_an_error(client, cloud, line, make_folder):
    folder, answered = make_folder(count=6), []

    def fault(what: str):
        answered.append(what)
        return (500, 503, 502)[len(answered) % 3] if len(answered) % 2 else None

    cloud.fault = fault
    client.upload(folder, part_bytes=4_000, at_once=2)
    assert cloud.only().members == contents(folder) and {"createProject", "startProject", "upload"} <= set(answered)


def test_a_slow_line(client, cloud, line, make_folder):
    folder, reports = make_folder(count=4, size=200), []
    line.delay_seconds = 0.06
    client.upload(folder, part_bytes=20_000, at_once=1, progress=reports.append)
    assert cloud.only().members == contents(folder)
    assert any(0 < report.done_bytes < report.total_bytes and report.speed > 0 for report in reports)


def test_links_that_run_out_are_asked_for_again(client, cloud, line, make_folder):
    folder, parts = make_folder(count=6), []

    def fault(what: str):
        if what == "upload":
            parts.append(what)
            if len(parts) in (1, 3):
                cloud.expire_links()

    cloud.fault = fault
    client.upload(folder, part_bytes=4_000, at_once=1)
    assert cloud.commands.count("createProject") == 3 and cloud.only().members == contents(folder)
    assert len(cloud.sent_parts) == len(set(cloud.sent_parts))


def test_links_are_renewed_before_they_run_out(client, cloud, line, make_folder, monkeypatch):
    monkeypatch.setattr(sending, "LINK_SECONDS", 0)
    client.upload(make_folder(count=6), part_bytes=4_000, at_once=1)
    assert cloud.commands.count("createProject") == cloud.only().parts


def test_links_that_never_work_end_the_upload(client, cloud, line, make_folder):
    cloud.turns_away = True
    with pytest.raises(Refused, match="410"):
        client.upload(make_folder())


def test_a_name_that_somebody_else_started_is_not_taken_for_ours(client, cloud, line, make_folder):
    client.upload(make_folder(), project="mine.zip")
    cloud.commands.clear()
    with pytest.raises(Refused):
        Client(cloud.address, TOKEN, state_directory=cloud.directory).upload(make_folder("other"), project="mine.zip")
    assert "startProject" not in cloud.commands


def test_a_server_that_is_gone_and_comes_back(client, cloud, line, make_folder):
    folder, messages = make_folder(count=4, size=200), []
    line.down_after = 60_000

    def watch(report) -> None:
        if report.message:
            messages.append(report.message)
            line.heal()

    client.upload(folder, part_bytes=30_000, progress=watch)
    assert cloud.only().members == contents(folder) and "Trying again" in messages[0]


def test_giving_up_and_continuing_later(client, cloud, line, make_folder):
    """What was confirmed before is not sent again, even where the server cannot say what it has."""
    folder = make_folder(count=6, size=200)
    line.down_after = 150_000
    impatient = Client(line.address, TOKEN, patience_seconds=0)
    with pytest.raises(Unreachable, match="Start again to continue"):
        impatient.upload(folder, part_bytes=30_000, at_once=2)
    before = list(cloud.sent_parts)
    assert before
    line.heal()
    project = Client(line.address, TOKEN).upload(folder)
    assert {name for name, _ in before} == {project} and cloud.only().members == contents(folder)
    # The answers to the two that were under way may have been lost.
    assert len(set(cloud.sent_parts)) == cloud.only().parts >= len(cloud.sent_parts) - 2
    assert line.sent_bytes < cloud.only().size_bytes


def test_a_server_that_forgot_the_parts_gets_all_of_them_again(client, cloud, line, make_folder):
    folder = make_folder(count=6, size=200)
    line.down_after = 150_000
    with pytest.raises(Unreachable):
        Client(line.address, TOKEN, patience_seconds=0).upload(folder, part_bytes=30_000, at_once=2)
    line.heal()
    cloud.only().received.clear()
    client.upload(folder)
    assert cloud.only().members == contents(folder)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_that_is_ended_continues_when_it_is_started_again(cloud, line, make_folder, ending):
    folder = make_folder(count=6, size=300)
    line.delay_seconds = 0.05
    command = [sys.executable, "-m", "openscan_uploader", str(folder), "--server", line.address, "--token", TOKEN, "--part-size", "0.05",
               "--at-once", "1", "--quiet"]
    first = subprocess.Popen(command, env=_environment(), stderr=subprocess.PIPE, text=True)
    until(lambda: len(cloud.sent_parts) >= 2)
    first.send_signal(ending)
    said = first.communicate(timeout=120)[1]
    if ending == signal.SIGTERM:
        assert first.returncode == 130 and "Start again to continue" in said
    line.delay_seconds = 0.0
    before = len(cloud.sent_parts)
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == next(iter(cloud.projects)) and cloud.only().members == contents(folder)
    # The part that was under way may have arrived without our having noted it.
    assert len(cloud.sent_parts) <= cloud.only().parts + 1 and before < cloud.only().parts


def _environment() -> dict:
    return {**os.environ, "PYTHONPATH": str(SOURCE)}


def test_pause_and_resume(client, cloud, line, make_folder):
    folder, control = make_folder(count=6, size=200), Control()
    paused_at = []

    def watch(report) -> None:
        if report.stage == "sending" and report.done_bytes and not paused_at:
            control.pause()
            paused_at.append(None)
            threading.Timer(1.0, resume).start()

    def resume() -> None:
        paused_at.append(line.sent_bytes)
        time.sleep(0.3)
        paused_at.append(line.sent_bytes)
        control.resume()

    line.delay_seconds = 0.03
    client.upload(folder, part_bytes=40_000, at_once=2, control=control, progress=watch)
    assert cloud.only().members == contents(folder)
    assert paused_at[1] == paused_at[2], "bytes were sent while it was paused"


def test_photos_that_change_while_they_are_sent(client, cloud, line, make_folder):
    folder = make_folder(count=6, size=200)
    target = folder / "IMG_6.JPG"
    line.delay_seconds = 0.02

    def change(report) -> None:
        if report.stage == "sending":
            target.write_bytes(target.read_bytes()[:-2] + b"\xff\xd9")

    with pytest.raises(ChangedPhotos, match="IMG_6.JPG was changed.*nothing was started"):
        client.upload(folder, part_bytes=20_000, at_once=1, progress=change)
    assert cloud.projects == {}, "it was reset, so that its credit is free"
    line.delay_seconds = 0.0
    client.upload(folder)
    assert cloud.only().members == contents(folder)


def test_a_photo_of_which_only_the_bytes_change(client, cloud, line, make_folder):
    """Size and time stay, as some programs leave them: the checksum tells."""
    folder = make_folder(count=6, size=200)
    target = folder / "IMG_6.JPG"
    about, changed = target.stat(), []
    half = sum(path.stat().st_size for path in folder.iterdir()) // 2 + 1000  # IMG_6 lies whole in the second part
    line.delay_seconds = 0.15

    def change(report) -> None:
        if report.stage == "sending" and not changed:
            content = bytearray(target.read_bytes())
            content[1000] ^= 1
            target.write_bytes(content)
            os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
            changed.append(target)

    with pytest.raises(ChangedPhotos):
        client.upload(folder, at_once=1, part_bytes=half, progress=change)
    assert changed and cloud.projects == {}


def test_a_download_that_breaks_off_continues(client, cloud, line, make_folder, tmp_path):
    project = client.upload(make_folder())
    cloud.finish(project)
    line.heal()
    line.answer_cuts[:] = [100_000, 150_000]
    path = client.download(project, tmp_path / "model.zip")
    assert path.read_bytes() == cloud.model and line.was_cut == 2
    assert sorted(each.name for each in tmp_path.glob("model*")) == ["model.zip"]


def test_waits_grow_and_differ():
    rows = [[wait_seconds(failures) for _ in range(50)] for failures in range(1, 12)]
    assert all(len(set(row)) > 1 for row in rows)
    assert [max(row) <= min(60.0, waits.FIRST_WAIT * 2 ** number) for number, row in enumerate(rows)] == [True] * 11
    assert min(rows[5]) > max(rows[3]) and wait_seconds(1, asked_for=30) == 30
