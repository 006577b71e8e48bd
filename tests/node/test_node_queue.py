"""The queue: order, parallel tasks, cancel and remove at once, kills and restarts, clean-ups, webhooks."""
import json
import os
import signal
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.node.harness import QUICK_ENGINE, NodeProgram, wait_for

pytestmark = pytest.mark.slow


def statuses(node: NodeProgram, tasks: list) -> list[int]:
    return [node.status(task) for task in tasks]


def is_idling(node: NodeProgram, task: str) -> bool:
    """Whether the engine has said all that it says before it hangs."""
    return "Running odm_report stage" in node.get(f"/task/{task}/output").json()


def test_one_at_a_time_in_order(make_node) -> None:
    node = make_node()
    tasks = [node.new_task(quick_seconds=0.4) for _ in range(3)]
    wait_for(lambda: statuses(node, tasks) == [20, 10, 10])
    assert node.get("/info").json()["taskQueueCount"] == 3
    assert node.info(tasks[1])["processingTime"] == -1
    wait_for(lambda: statuses(node, tasks) == [40, 20, 10])
    assert node.get("/info").json()["taskQueueCount"] == 2
    wait_for(lambda: statuses(node, tasks) == [40, 40, 40])
    assert [task["uuid"] for task in node.get("/task/list").json()] == tasks
    assert node.get("/info").json()["taskQueueCount"] == 0
    assert node.info(tasks[0])["processingTime"] >= 400


def test_parallel(make_node) -> None:
    node = make_node("--parallel", "2")
    assert node.get("/info").json()["maxParallelTasks"] == 2
    tasks = [node.new_task(quick_mode="hang") for _ in range(3)]
    wait_for(lambda: statuses(node, tasks) == [20, 20, 10])
    time.sleep(0.2)
    assert statuses(node, tasks) == [20, 20, 10]
    node.pyodm().get_task(tasks[0]).cancel()
    wait_for(lambda: statuses(node, tasks) == [50, 20, 20])


def test_progress_rises(make_node) -> None:
    node = make_node()
    task = node.new_task(quick_seconds=1)
    seen = []
    while not seen or seen[-1] < 100:
        seen.append(node.info(task)["progress"])
        time.sleep(0.05)
    assert seen == sorted(seen)
    assert len({value for value in seen if 0 < value < 90}) >= 3
    assert node.status(task) == 40


def test_a_long_queue(make_node, request) -> None:
    count = 40 if request.config.getoption("--long") else 12
    node = make_node("--parallel", "2")
    first = node.new_task(quick_mode="hang")
    other = node.new_task(quick_mode="hang")
    tasks = [node.new_task(f"{number}.jpg") for number in range(count)]
    assert node.get("/info").json()["taskQueueCount"] == count + 2
    assert node.get("/task/list").json()[-1] == {"uuid": tasks[-1]}
    for task in (first, other):
        node.post("/task/cancel", data={"uuid": task})
    wait_for(lambda: node.get("/info").json()["taskQueueCount"] == 0, 60)
    assert set(statuses(node, tasks)) == {40}


@pytest.mark.parametrize("mode", ["hang", "stubborn"])
def test_cancel_stops_everything_at_once(make_node, mode: str) -> None:
    node = make_node()
    task = node.new_task(quick_mode=mode)
    node.wait_status(task, 20)
    wait_for(lambda: is_idling(node, task))
    assert len(node.engine_processes()) == (3 if mode == "stubborn" else 2)
    assert node.pyodm().get_task(task).cancel()
    assert node.engine_processes() == []
    info = node.info(task)
    assert info["status"] == {"code": 50} and info["processingTime"] == -1
    assert node.pyodm().get_task(task).cancel()


def test_cancel_of_a_waiting_task(make_node) -> None:
    node = make_node()
    running, waiting, last = (node.new_task(quick_mode="hang"), node.new_task(), node.new_task())
    wait_for(lambda: statuses(node, [running, waiting, last]) == [20, 10, 10])  # one that takes in its files counts as running
    assert node.pyodm().get_task(waiting).cancel()
    assert statuses(node, [running, waiting, last]) == [20, 50, 10]
    node.pyodm().get_task(running).cancel()
    node.wait_status(last, 40)
    assert node.status(waiting) == 50


def test_restart_after_cancel_runs_with_new_options(make_node) -> None:
    node = make_node()
    task = node.new_task(quick_mode="hang")
    wait_for(lambda: is_idling(node, task))
    client = node.pyodm().get_task(task)
    assert node.post("/task/restart", data={"uuid": task}).json() == {
        "success": False, "error": "Task cannot be restarted: it has not ended",
    }
    client.cancel()
    assert client.restart({"mesh-size": 7, "rerun-from": "odm_meshing"})
    info = node.wait_status(task, 40)
    assert {"name": "mesh-size", "value": 7} in info["options"] and {"name": "rerun-from", "value": "odm_meshing"} in info["options"]
    assert {"name": "gltf", "value": True} in info["options"]
    sent = json.loads((node.task_directory(task) / "options.json").read_text())
    assert {"name": "rerun-from", "value": "odm_meshing"} in sent
    assert (node.task_directory(task) / "quick_engine_runs").read_text() == "2"


def test_a_restarted_task_goes_to_the_end_of_the_queue(make_node) -> None:
    node = make_node()
    first = node.new_task()
    node.wait_status(first, 40)
    running, waiting = node.new_task(quick_mode="hang"), node.new_task(quick_mode="hang")
    node.wait_status(running, 20)
    node.pyodm().get_task(first).restart()
    node.pyodm().get_task(running).cancel()
    node.wait_status(waiting, 20)
    assert node.status(first) == 10
    assert node.get(f"/task/{first}/output").json() == []


def test_many_commands_at_once_leave_one_engine(make_node) -> None:
    node = make_node()
    task = node.new_task(quick_mode="hang")
    node.wait_status(task, 20)

    def hammer(command: str) -> None:
        for _ in range(5):
            node.post(f"/task/{command}", data={"uuid": task})

    threads = [threading.Thread(target=hammer, args=(command,)) for command in ("cancel", "restart", "restart", "cancel")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node.post("/task/cancel", data={"uuid": task})
    wait_for(lambda: node.engine_processes() == [])
    node.post("/task/restart", data={"uuid": task})
    node.wait_status(task, 20)
    wait_for(lambda: len(node.engine_processes()) == 2)
    assert node.status(task) == 20


def test_remove_leaves_nothing(make_node) -> None:
    node = make_node()
    for mode in ("ok", "hang", "fail"):
        task = node.new_task(quick_mode=mode)
        node.wait_status(task, 20, 30, 40)
        assert node.pyodm().get_task(task).remove()
        assert node.info(task) == {"error": f"{task} not found"}
        assert not node.task_directory(task).exists()
        assert node.engine_processes() == []
    assert node.get("/task/list").json() == []
    node.stop()
    node.start()
    assert node.get("/task/list").json() == []


def test_queued_and_running_tasks_outlive_a_kill(make_node) -> None:
    node = make_node()
    done = node.new_task()
    failed = node.new_task(quick_mode="fail")
    canceled = node.new_task(quick_mode="hang")
    node.wait_status(canceled, 20)
    node.pyodm().get_task(canceled).cancel()
    running = node.new_task(quick_seconds=2, rerun_from="odm_meshing")
    waiting = [node.new_task(f"{number}.jpg") for number in range(3)]
    node.wait_status(running, 20)
    wait_for(lambda: "Running opensfm stage" in node.get(f"/task/{running}/output").json())
    console = node.get(f"/task/{running}/output").json()
    node.kill()
    wait_for(lambda: node.engine_processes() == [], 5)
    node.start()
    tasks = [done, failed, canceled, running, *waiting]
    assert [task["uuid"] for task in node.get("/task/list").json()] == tasks
    wait_for(lambda: statuses(node, tasks) == [40, 30, 50, 40, 40, 40, 40])
    assert node.info(failed)["status"]["errorMessage"].startswith("only 3 of 16")
    assert node.get(f"/task/{done}/download/all.zip").status_code == 200
    told = node.get(f"/task/{running}/output").json()
    assert told[: len(console)] == console
    assert "The processing node was restarted. The task continues." in told
    assert (node.task_directory(running) / "quick_engine_runs").read_text() == "2"
    # The second run continues after its last finished stage, not where the first one was to begin …
    options = node.task_directory(running) / "options.json"
    assert "rerun-from" not in options.read_text()
    # … until somebody asks for it anew.
    node.pyodm().get_task(running).restart()
    node.wait_status(running, 40)
    assert {"name": "rerun-from", "value": "odm_meshing"} in json.loads(options.read_text())


def test_an_engine_that_outlived_its_node_is_ended_at_the_next_start(make_node) -> None:
    node = make_node()
    task = node.new_task(quick_mode="stubborn")
    node.wait_status(task, 20)
    wait_for(lambda: is_idling(node, task))
    processes = node.engine_processes()
    guard = min(processes)
    # Without its guard nobody ends the engine when the node dies.
    os.kill(guard, signal.SIGSTOP)
    # One of its threads takes the signal and stops the others, which may take a moment.
    wait_for(lambda: all(" T (" in (thread / "status").read_text().replace("\t", " ") for thread in Path(f"/proc/{guard}/task").iterdir()))
    node.kill()
    time.sleep(0.2)
    assert set(node.engine_processes()) == set(processes)
    node.start()
    wait_for(lambda: is_idling(node, task) and len(node.engine_processes()) == 3)
    assert not set(processes) & set(node.engine_processes())


def test_kills_at_any_moment_lose_and_double_nothing(make_node) -> None:
    node = make_node("--parallel", "2")
    tasks = [node.new_task(f"{number}.jpg", quick_seconds=0.15) for number in range(8)]
    for pause in (0.02, 0.1, 0.2, 0.3):
        time.sleep(pause)
        node.kill()
        node.start()
    wait_for(lambda: set(statuses(node, tasks)) == {40}, 60)
    assert len(node.get("/task/list").json()) == 8
    for task in tasks:
        assert node.get(f"/task/{task}/download/all.zip").status_code == 200
        assert not list(node.task_directory(task).glob("*.part"))


def test_a_polite_end_keeps_the_queue_too(make_node) -> None:
    node = make_node()
    running, waiting = node.new_task(quick_mode="hang"), node.new_task()
    node.wait_status(running, 20)
    assert node.stop() == 0
    assert node.engine_processes() == []
    node.start()
    wait_for(lambda: statuses(node, [running, waiting]) == [20, 10])


def test_directories_that_belong_to_no_task_are_removed(make_node) -> None:
    node = make_node()
    task = node.new_task()
    node.wait_status(task, 40)
    stray = node.task_directory("11111111-1111-4111-8111-111111111111")
    (stray / "images").mkdir(parents=True)
    node.kill()
    node.start()
    assert not stray.exists()
    assert node.task_directory(task).exists()


def test_old_tasks_and_uploads_are_removed(make_node) -> None:
    node = make_node()
    old, recent = node.new_task(), node.new_task()
    running = node.new_task(quick_mode="hang")
    upload = node.post("/task/new/init").json()["uuid"]
    node.wait_status(recent, 40)
    node.wait_status(running, 20)
    node.kill()
    with sqlite3.connect(str(node.data / "node.sqlite3")) as database:
        for task in (old, running):
            (state,) = database.execute("SELECT state FROM task WHERE uuid = ?", (task,)).fetchone()
            changed = json.dumps(dict(json.loads(state), date_created=1, date_finished=0 if task == running else 2))
            database.execute("UPDATE task SET state = ? WHERE uuid = ?", (changed, task))
    node.start()
    wait_for(lambda: [task["uuid"] for task in node.get("/task/list").json()] == [recent, running])
    assert not node.task_directory(old).exists()
    assert (node.data / "uploads" / upload).exists()
    node.kill()
    another = make_node("--cleanup-uploads-after", "0", data=node.data)
    wait_for(lambda: not (another.data / "uploads" / upload).exists())


@pytest.fixture
def listener():
    """A web server that keeps what is posted to it: (address, bodies)."""
    bodies: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    server.shutdown()
    server.server_close()


def test_webhooks_tell_of_success_and_failure(make_node, listener) -> None:
    address, bodies = listener
    node = make_node("--webhook", address)
    task = node.pyodm().create_task([__file__.replace("test_node_queue.py", "harness.py")], webhook=address)
    wait_for(lambda: len(bodies) == 2)
    assert [body["uuid"] for body in bodies] == [task.uuid] * 2
    assert bodies[0]["status"] == {"code": 40}
    assert [photo["filename"] for photo in bodies[0]["images"]] == ["harness.py"]
    node.new_task(quick_mode="fail")
    wait_for(lambda: len(bodies) == 3)
    assert bodies[2]["status"]["code"] == 30 and bodies[2]["images"] == []


def test_a_webhook_that_is_nobodys_harms_nothing(make_node) -> None:
    node = make_node("--webhook", "http://127.0.0.1:1/secret")
    task = node.new_task()
    node.wait_status(task, 40)
    wait_for(lambda: "webhook at 127.0.0.1" in node.log.read_text())
    assert "secret" not in node.log.read_text()
    assert node.wait_status(node.new_task(), 40)


def test_engine_command_with_arguments(make_node, tmp_path) -> None:
    control = tmp_path / "control.json"
    control.write_text('{"mode": "fail"}')
    node = make_node(engine=f"{QUICK_ENGINE} --control {control}")
    task = node.new_task()
    node.wait_status(task, 30)
    control.write_text('{"mode": "ok"}')
    node.pyodm().get_task(task).restart()
    node.wait_status(task, 40)
