"""The command `openscan-upload`, as people and scripts run it."""
import json
import os
import signal
import subprocess
import sys

import pytest
from openscan_uploader import Canceled, Client, Control, command, settings
from openscan_uploader.control import Progress
from openscan_uploader.watch import Watch

from tests.support.original_cloud import TOKEN
from tests.support.waiting import until
from tests.uploader.conftest import SOURCE
from tests.uploader.test_original import contents


@pytest.fixture
def run_program(cloud, tmp_path):
    """run_program("upload", folder, …) -> the ended process."""
    def call(*arguments) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OPENSCAN_SERVER": cloud.address, "OPENSCAN_TOKEN": TOKEN}
        return subprocess.run([sys.executable, "-m", "openscan_uploader", *map(str, arguments)], env=environment, capture_output=True,
                              text=True, cwd=tmp_path, timeout=120)

    return call


@pytest.fixture
def run(cloud, tmp_path, monkeypatch, capsys):
    """As ``run_program``, within this process."""
    def call(*arguments, token: str = TOKEN) -> "subprocess.CompletedProcess[str]":
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setenv("OPENSCAN_SERVER", cloud.address)
            patched.setenv("OPENSCAN_TOKEN", token)
            patched.chdir(tmp_path)
            try:
                code = command.main([str(argument) for argument in arguments])
            except SystemExit as end:  # of argparse
                code = end.code
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return call


def test_upload_wait_and_download(run_program, cloud, make_folder, tmp_path):
    folder = make_folder()
    cloud.fault = lambda what: cloud.finish(next(iter(cloud.projects))) if what == "getProjectInfo" else None
    done = run_program(folder, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    model = tmp_path / "out" / os.path.basename(done.stdout.strip())
    assert model.read_bytes() == cloud.model and cloud.only().members == contents(folder)
    assert "Sending" in done.stderr and "Processing has started" in done.stderr and TOKEN not in done.stderr


def test_quiet_and_json(run, cloud, make_folder):
    folder = make_folder()
    quiet = run("upload", folder, "--quiet")
    assert quiet.returncode == 0 and quiet.stderr == "" and quiet.stdout.strip() == next(iter(cloud.projects))
    told = run("upload", folder, "--json", "--again")
    assert json.loads(told.stdout) == {"project": list(cloud.projects)[1], "status": "started"} and told.stderr == ""
    status = json.loads(run("status", quiet.stdout.strip(), "--json").stdout)
    assert status["status"] == "initialized" and not status["is_done"]
    listed = json.loads(run("list", "--json").stdout)["sets"]
    assert [row["project"] for row in listed] == list(cloud.projects)[::-1] and listed[0]["status"] == "initialized"
    assert run("list").stdout.splitlines()[0].split("\t")[1:3] == ["initialized", "4 photos"]
    token = json.loads(run("token", "--json").stdout)
    assert token["credit"] == cloud.credit and TOKEN not in json.dumps(token)


def test_check_sends_nothing(run, cloud, make_folder):
    folder = make_folder()
    (folder / "notes.txt").write_text("x")
    done = run(folder, "--check")
    assert done.returncode == 0 and "4 photos" in done.stderr and "of credit" in done.stderr and "notes.txt is not a photo" in done.stderr
    told = json.loads(run(folder, "--check", "--json").stdout)
    assert told["photos"] == 4 and [left["name"] for left in told["left_out"]] == ["notes.txt"]
    cloud.limit_photos = 3
    assert run(folder, "--check").returncode == 3
    assert cloud.projects == {}


def test_exit_codes(run, run_program, cloud, make_folder, tmp_path):
    folder, empty = make_folder(), tmp_path / "empty"
    empty.mkdir()
    assert run_program("upload").returncode == 2
    assert run(folder, "--part-size", "500").returncode == 2
    nothing = run(empty)
    assert nothing.returncode == 3 and "There are no photos" in nothing.stderr
    wrong = run(folder, token="B" * 32)
    assert wrong.returncode == 4 and "B" * 32 not in wrong.stderr + wrong.stdout
    assert run("status", "never-sent.zip").returncode == 5
    project = run(folder, "--quiet").stdout.strip()
    late = run("status", project, "--wait", "--timeout", "0")
    assert late.returncode == 9 and "The server is still working on it" in late.stderr
    cloud.only().status = "processing failed"
    assert run("status", project, "--wait").returncode == 7
    failed = run("download", project, "--json")
    assert failed.returncode == 7 and json.loads(failed.stdout)["exit_code"] == 7
    assert run("reset", project).returncode == 0 and cloud.projects == {}
    cloud.stop()
    gone = run(folder, "--patience", "0")
    assert gone.returncode == 6 and "connection to the server was lost" in gone.stderr


def test_settings_come_from_options_environment_and_file(tmp_path, monkeypatch):
    assert settings.load().server == ""
    assert not settings.save("https://file.example", "F" * 32)
    path = settings.config_file()
    assert path.stat().st_mode & 0o077 == 0 and settings.load() == settings.Settings("https://file.example", "F" * 32)
    monkeypatch.setenv("OPENSCAN_SERVER", "https://environment.example/")
    monkeypatch.setenv("OPENSCAN_TOKEN", "E" * 32)
    assert settings.load() == settings.Settings("https://environment.example", "E" * 32)
    assert settings.load("https://option.example", "O" * 32) == settings.Settings("https://option.example", "O" * 32)
    path.write_text("no section")
    with pytest.raises(Exception, match="cannot be read"):
        settings.load()


def test_token_remembers(run, cloud, monkeypatch):
    done = run("token", "--save")
    assert done.returncode == 0 and "50 GB of credit left" in done.stdout
    assert settings.load().token == TOKEN and settings.load().server == cloud.address


def test_the_bar_fits_the_line():
    line = command._line(Progress("sending", 600_000_000, 1_200_000_000, speed=5e6))
    assert line == "Sending [############............]  50% 600 MB of 1.2 GB, 5 MB/s, 2 min left"
    waiting = command._line(Progress("waiting", fraction=0.4, message="processing started"))
    assert waiting == "Waiting for the model 40% - processing started"


@pytest.fixture
def watching(cloud, tmp_path):
    """watching(DIR, …, quiet=0.4) -> a running `openscan-upload watch`, ended after the test."""
    started = []

    def call(*arguments, quiet: float = 0.4) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OPENSCAN_SERVER": cloud.address, "OPENSCAN_TOKEN": TOKEN}
        arguments = ("-m", "openscan_uploader", "watch", *map(str, arguments), "--quiet-time", str(quiet))
        started.append(subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True))
        return started[-1]

    yield call
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=120)


def test_watch_sends_new_folders_and_puts_models_beside_the_photos(watching, cloud, make_folder, tmp_path):
    first = make_folder("first")
    cloud.fault = lambda what: [cloud.finish(name) for name in cloud.projects] and None if what == "getProjectInfo" else None
    process = watching(tmp_path / "photos")
    until(lambda: (first / "model" / "model.obj").exists())
    second = make_folder("zweite Vase 🏺", count=2)
    until(lambda: (second / "model" / "texture.jpg").exists())
    process.terminate()
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "first has been sent." in out and "zweite Vase 🏺 has its model in" in out
    assert len(cloud.projects) == 2
    # Started again, it finds nothing to do.
    again = watching(tmp_path / "photos", "--once")
    out, error = again.communicate(timeout=120)
    assert again.returncode == 0 and out == "" and len(cloud.projects) == 2, error


def test_watch_waits_until_a_folder_is_quiet_and_names_what_it_cannot_send(watching, cloud, make_folder, tmp_path):
    folder, empty = make_folder("tethered", count=2), make_folder("nothing", count=0)
    (empty / "notes.txt").write_text("x")
    process = watching(tmp_path / "photos", quiet=1.2)
    for number in range(3, 9):
        assert cloud.projects == {}, "it was sent before it was quiet"
        (folder / f"IMG_{number}.JPG").write_bytes((folder / "IMG_1.JPG").read_bytes() + bytes([number]))
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            pass
    until(lambda: cloud.projects and cloud.only().status != "created")
    assert len(cloud.only().members) == 8
    process.terminate()
    out, _ = process.communicate(timeout=120)
    assert "nothing There are no photos" in out


def test_watch_leaves_read_only_folders_alone_with_out(watching, cloud, make_folder, tmp_path):
    folder = make_folder("locked")
    cloud.fault = lambda what: [cloud.finish(name) for name in cloud.projects] and None if what == "getProjectInfo" else None
    before = sorted(folder.iterdir())
    folder.chmod(0o555)
    done = watching(tmp_path / "photos", "--once", "--out", tmp_path / "models")
    out, error = done.communicate(timeout=120)
    folder.chmod(0o755)
    assert done.returncode == 0, error
    assert (tmp_path / "models" / "locked" / "model" / "model.obj").exists() and sorted(folder.iterdir()) == before


def test_watch_goes_on_when_the_directory_or_the_server_is_away(client, cloud, make_folder, tmp_path):
    folder, said, away = make_folder("vase"), [], []
    control = Control()

    def say(name: str, sentence: str) -> None:
        said.append(sentence)
        if "cannot be read" in sentence:
            (tmp_path / "away").rename(tmp_path / "photos")
        elif sentence == "has been sent.":
            control.cancel()

    def fault(what: str):
        if what == "createProject" and not away:
            away.append(what)
            return 503
        return None

    cloud.fault = fault
    impatient = Client(cloud.address, TOKEN, patience_seconds=0)
    watch = Watch(impatient, tmp_path / "photos", quiet_seconds=0.1, every_seconds=0.05, say=say, control=control)
    (tmp_path / "photos").rename(tmp_path / "away")
    with pytest.raises(Canceled):
        watch.run()
    assert "cannot be read" in said[0] and "has not been sent yet" in said[1] and said[-1] == "has been sent."
    assert cloud.only().members == contents(folder)
