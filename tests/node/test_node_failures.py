"""Engines that fail, crash, hang or babble, and disks that are full: every task ends with a sentence that is true."""
import contextlib
import subprocess

import pytest

from tests.node.harness import JPEG, NodeProgram, shell_engine, wait_for

WHY = [
    ("fail", "only 3 of 16 photos could be placed: take more photos with more overlap"),
    ("crash", "The engine crashed (signal 11). Its last output was: Running odm_report stage"),
    ("mute", "The engine failed (exit code 1) and gave no reason. Its last output was: Running odm_report stage"),
    ("silent", "The engine ended without a result. Its last output was: Running odm_report stage"),
    ("empty", "The engine reported success, but left no results"),
]


@pytest.mark.parametrize(("mode", "sentence"), WHY)
def test_failures_are_told(node: NodeProgram, mode: str, sentence: str) -> None:
    task = node.new_task(quick_mode=mode)
    info = node.wait_status(task, 30)
    assert info["status"]["errorMessage"] == sentence
    assert info["processingTime"] >= 0
    console = node.get(f"/task/{task}/output").json()
    assert sentence in console[-2:] or sentence == console[-1]
    assert (node.task_directory(task) / "task_output.txt").read_text().splitlines() == console
    assert node.pyodm().get_task(task).info().last_error == sentence


def test_a_failed_task_can_be_restarted(node: NodeProgram) -> None:
    task = node.new_task(quick_mode="once")
    node.wait_status(task, 30)
    assert node.pyodm().get_task(task).restart()
    info = node.wait_status(task, 40)
    assert "errorMessage" not in info["status"] and info["progress"] == 100


def test_an_engine_killed_for_memory(node: NodeProgram) -> None:
    task = node.new_task(quick_mode="hang")
    node.wait_status(task, 20)
    engine = wait_for(lambda: [pid for pid in node.engine_processes() if "guard" not in _command(pid)])
    subprocess.run(["kill", "-9", *map(str, engine)], check=True)
    assert "not enough memory" in node.wait_status(task, 30)["status"]["errorMessage"]
    assert not node.engine_processes()


def _command(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        return file.read()
    return ""


def test_odd_output_is_shown_and_harms_nothing(node: NodeProgram) -> None:
    task = node.new_task(quick_mode="noise")
    node.wait_status(task, 40)
    console = node.get(f"/task/{task}/output").json()
    assert "colours, then a brace {not json" in console
    assert "{not json either" in console
    assert "(a line of more than 1 MB was left out)" in console
    assert "on stderr" in console
    assert max(map(len, console)) <= 4000


def test_output_from_a_line_on(node: NodeProgram) -> None:
    task = node.new_task()
    node.wait_status(task, 40)
    console = node.get(f"/task/{task}/output").json()
    assert node.get(f"/task/{task}/output?line=2").json() == console[2:]
    assert node.get(f"/task/{task}/output?line=-2").json() == console[-2:]
    assert node.get(f"/task/{task}/output?line=nonsense").json() == console
    assert node.get(f"/task/{task}/info?with_output=3").json()["output"] == console[3:]
    assert "output" not in node.get(f"/task/{task}/info").json()
    assert node.pyodm().get_task(task).info(with_output=1).output == console[1:]


def test_an_engine_whose_child_keeps_the_output_open(make_node, tmp_path) -> None:
    engine = tmp_path / "leaving.sh"
    shell_engine(engine, 'sleep 600 & mkdir "$OUT/odm_texturing"; echo x > "$OUT/odm_texturing/m.obj"')
    node = make_node(engine=str(engine))
    task = node.new_task()
    node.wait_status(task, 40)  # long before the child's ten minutes are over


def test_max_runtime(make_node) -> None:
    node = make_node("--max-runtime", "0.01")
    task = node.new_task(quick_mode="hang")
    info = node.wait_status(task, 30)
    assert "was stopped" in info["status"]["errorMessage"]
    assert not node.engine_processes()


def test_room_is_kept_free(make_node) -> None:
    node = make_node("--reserve-mb", "1000000000")
    answer = node.post("/task/new", files=[("images", ("a.jpg", JPEG))]).json()
    assert answer["error"].startswith("No room on the node's disk")
    assert not list((node.data / "uploads").iterdir())
    task = node.post("/task/new/init").json()["uuid"]
    assert "No room" in node.post(f"/task/new/upload/{task}", files=[("images", ("a.jpg", JPEG))]).json()["error"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(directory)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


def test_a_full_disk(make_node, small_disk) -> None:
    node = make_node(data=small_disk / "data")
    full = node.post("/task/new", files=[("images", ("big.jpg", bytes(9_000_000)))]).json()
    assert "disk" in full["error"] and "free" in full["error"]
    task = node.post("/task/new/init").json()["uuid"]
    for number in range(8):
        answer = node.post(f"/task/new/upload/{task}", files=[("images", (f"{number}.jpg", bytes([number]) * 1_000_000))]).json()
        if "error" in answer:
            break
    assert "disk" in answer["error"]
    assert not list((node.data / "uploads" / task / "incoming").iterdir())
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    refused = node.post(f"/task/new/commit/{task}").json()
    if "error" in refused:
        assert "disk is full" in refused["error"]
    filler.unlink()
    if "error" in refused:
        assert node.post(f"/task/new/commit/{task}").json() == {"uuid": task}
    info = node.wait_status(task, 30, 40)
    filler.write_bytes(b"x")
    assert info["status"]["code"] == 40 or "disk is full" in info["status"]["errorMessage"] or "no reason" in info["status"]["errorMessage"]
    assert node.get("/info").json()["taskQueueCount"] == 0
    assert node.post("/task/remove", data={"uuid": task}).json() == {"success": True}
    assert node.wait_status(node.new_task(), 40)
