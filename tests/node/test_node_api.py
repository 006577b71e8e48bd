"""What a node says about itself, and how it turns bad requests away: always JSON, with one sentence."""
import json
import subprocess
import uuid

import pytest
import requests
from pyodm.exceptions import NodeResponseError

from tests.node.harness import JPEG, NODE_PYTHON, QUICK_ENGINE, ROOT, NodeProgram, shell_engine

IMAGE = [("images", ("a.jpg", JPEG, "image/jpeg"))]


def test_info_has_all_of_nodeodms_fields(node: NodeProgram) -> None:
    info = node.get("/info").json()
    assert info["version"] == "2.2.4"
    assert (info["engine"], info["engineVersion"]) == ("quick", "1.0.0")
    assert info["maxImages"] is None and info["maxParallelTasks"] == 1
    assert isinstance(info["taskQueueCount"], int)
    assert info["totalMemory"] > info["availableMemory"] > 10_000_000
    assert info["cpuCores"] >= 1


def test_pyodm_reads_info_and_options(node: NodeProgram) -> None:
    client = node.pyodm()
    assert client.info().engine == "quick"
    assert client.version_greater_or_equal_than("1.5.1")
    options = {option.name: option for option in client.options()}
    assert options["pc-quality"].domain == ["ultra", "high", "medium", "low", "lowest"]
    assert options["mesh-size"].type == "int" and options["mesh-size"].help


def test_auth_routes_answer_without_a_token(make_node) -> None:
    node = make_node(token="s3cret")
    assert node.get("/auth/info").json()["loginUrl"] is None
    assert node.post("/auth/login").json() == {"error": "Not available"}
    assert node.post("/auth/register").json() == {"error": "Not available"}


def test_token_is_wanted_everywhere_else(make_node) -> None:
    node = make_node(token="s3cret")
    for path in ("/info", "/options", "/task/list", f"/task/{uuid.uuid4()}/info"):
        for query in ("", "?token=", "?token=wrong"):
            assert node.get(path + query).json() == {"error": "Invalid authentication token: token does not match."}
    assert "error" in node.post("/task/new", files=IMAGE).json()
    assert node.get("/info?token=s3cret").json()["engine"] == "quick"
    assert node.pyodm().info().engine == "quick"
    stranger = node.pyodm()
    stranger.token = "wrong"
    with pytest.raises(NodeResponseError, match="Invalid authentication token"):
        stranger.options()


def test_token_is_not_logged_and_not_given_to_the_engine(make_node, tmp_path) -> None:
    show = tmp_path / "show.sh"
    shell_engine(show, "env")
    node = make_node(token="s3cret", engine=str(show))
    task = node.post("/task/new?token=s3cret", files=IMAGE).json()["uuid"]
    info = None
    while info is None or info["status"]["code"] in (10, 20):
        info = node.get(f"/task/{task}/info?token=s3cret&with_output=0").json()
    assert any(line.startswith("PATH=") for line in info["output"])
    assert "s3cret" not in json.dumps(info)
    assert "s3cret" not in node.log.read_text()


@pytest.mark.parametrize(("path", "status"), [("/", 404), ("/nothing/here", 404), ("/task/new", 404), ("/task/cancel", 404)])
def test_unknown_routes_and_methods(node: NodeProgram, path: str, status: int) -> None:
    answer = node.get(path)
    assert answer.status_code in (status, 405)
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("path", ["info", "output", "download/all.zip"])
def test_unknown_tasks(node: NodeProgram, path: str) -> None:
    unknown = str(uuid.uuid4())
    answer = node.get(f"/task/{unknown}/{path}")
    assert (answer.status_code, answer.json()) == (200, {"error": f"{unknown} not found"})


@pytest.mark.parametrize("command", ["cancel", "remove", "restart"])
def test_commands_for_unknown_tasks(node: NodeProgram, command: str) -> None:
    assert node.post(f"/task/{command}", data={"uuid": "nobody"}).json() == {"success": False, "error": "nobody not found"}
    assert node.post(f"/task/{command}", json={"uuid": "nobody"}).json() == {"success": False, "error": "nobody not found"}
    assert node.post(f"/task/{command}").json() == {"error": "uuid param missing."}
    assert node.post(f"/task/{command}", json=["x"]).json() == {"error": "Expected a JSON object"}
    broken = node.post(f"/task/{command}", data="{", headers={"Content-Type": "application/json"}).json()
    assert broken["error"].startswith("The request is not well-formed")
    deep = node.post(f"/task/{command}", data="[" * 100_000, headers={"Content-Type": "application/json"}).json()
    assert deep["error"].startswith("The request is not well-formed")


BAD_OPTIONS = [
    ("{", "options is not valid JSON"),
    ("[" * 100_000, "options is not valid JSON"),
    ('{"name": "mesh-size"}', "options must be a list"),
    ("[1]", "options must be a list"),
    ('[{"name": "mesh-size", "value": "many"}]', "Cannot convert many to a number"),
    ('[{"name": "mesh-size", "value": -1}]', "out of range"),
    ('[{"name": "use-3dmesh", "value": "perhaps"}]', "Cannot convert perhaps to boolean"),
    ('[{"name": "pc-quality", "value": "superb"}]', "not in enum"),
    ('[{"name": "mesh-octree-depth", "value": 15}]', "out of range"),
    ('[{"name": "orthophoto-resolution", "value": 0}]', "out of range"),
]


@pytest.mark.parametrize(("options", "sentence"), BAD_OPTIONS)
def test_bad_options_are_refused_before_anything_is_sent(node: NodeProgram, options: str, sentence: str) -> None:
    before = len(node.get("/task/list").json())
    assert sentence in node.post("/task/new/init", data={"options": options}).json()["error"]
    assert sentence in node.post("/task/new", files=IMAGE, data={"options": options}).json()["error"]
    assert len(node.get("/task/list").json()) == before


def test_bad_options_name_the_option(node: NodeProgram) -> None:
    answer = node.post("/task/new/init", data={"options": '[{"name": "mesh-size", "value": "x"}]'}).json()
    assert json.loads(answer["error"])[0]["name"] == "mesh-size"


def test_bad_options_at_a_restart_leave_the_task_as_it_was(node: NodeProgram) -> None:
    task = node.new_task()
    node.wait_status(task, 40)
    answer = node.post("/task/restart", data={"uuid": task, "options": '[{"name": "mesh-size", "value": "x"}]'}).json()
    assert "error" in answer
    assert node.status(task) == 40


def test_requests_without_files(node: NodeProgram) -> None:
    sentence = "Need at least 1 file or a zip file url."
    assert node.post("/task/new").json() == {"error": sentence}
    assert node.post("/task/new", data={"name": "x"}).json() == {"error": sentence}
    task = node.post("/task/new/init").json()["uuid"]
    answer = node.post(f"/task/new/upload/{task}", files=[("name", (None, "x"))]).json()
    assert answer == {"error": "Need at least 1 file.", "noRetry": True}
    assert node.post(f"/task/new/commit/{task}").json() == {"error": "Need at least 1 file."}


def test_uploads_that_are_no_uploads(node: NodeProgram) -> None:
    task = node.post("/task/new/init").json()["uuid"]
    where = f"/task/new/upload/{task}"
    assert node.post(where, data=b"x").json()["error"].startswith("Expected multipart/form-data")
    assert "Unexpected field 'photos'" in node.post(where, files=[("photos", ("a.jpg", JPEG))]).json()["error"]
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = node.post(where, data=b"nothing of the kind", headers={"Content-Type": kind})
        assert (answer.status_code, "error" in answer.json()) == (200, True), answer.text
    for name in ("..", "/", "\\", ".", "\x01"):
        answer = node.post(where, data=_multipart(name), headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert (answer.status_code, "error" in answer.json()) == (200, True), answer.text
    assert node.post(f"/task/new/commit/{task}").json() == {"error": "Need at least 1 file."}


def _multipart(name: str) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'
    return head.encode() + JPEG + b"\r\n--b--\r\n"


@pytest.mark.parametrize("wrong", ["nonsense", "../../etc", "00000000-0000-0000-0000-000000000000",
                                   "5d6e17e5-7d55-4e8d-bcd9-7dafb0b571ea"])
def test_uploads_to_ids_that_nobody_began(node: NodeProgram, wrong: str) -> None:
    for command in ("upload", "commit"):
        answer = node.post(f"/task/new/{command}/{requests.utils.quote(wrong, safe='')}", files=IMAGE)
        assert answer.json() == {"error": "Invalid uuid (not found)"}


def test_set_uuid(node: NodeProgram) -> None:
    wanted = str(uuid.uuid4())
    assert node.post("/task/new/init", headers={"set-uuid": wanted}).json() == {"uuid": wanted}
    assert node.post(f"/task/new/upload/{wanted}", files=IMAGE).json() == {"success": True}
    assert node.post(f"/task/new/commit/{wanted}").json() == {"uuid": wanted}
    node.wait_status(wanted, 40)
    for refused in (wanted, "nonsense", "../../../etc/passwd", "00000000-0000-0000-0000-000000000000"):
        for path in ("/task/new/init", "/task/new"):
            answer = node.post(path, headers={"set-uuid": refused}, files=IMAGE).json()
            assert answer == {"error": f"Invalid set-uuid: {refused}"}
    again = node.post(f"/task/new/commit/{wanted}").json()
    assert again == {"error": "Invalid uuid (not found)"}


def test_long_fields_are_refused(node: NodeProgram) -> None:
    answer = node.post("/task/new", files=IMAGE, data={"name": "x" * 2_000_000}).json()
    assert "longer than" in answer["error"]


def _fails_to_start(*arguments: str) -> str:
    ended = subprocess.run([str(NODE_PYTHON), "-m", "node.server", *arguments], cwd=ROOT, capture_output=True, timeout=120)
    assert ended.returncode != 0
    assert b"Traceback" not in ended.stderr
    return ended.stderr.decode()


def test_starting_says_what_is_wrong(make_node, tmp_path) -> None:
    running = make_node()
    port = running.url.rpartition(":")[2]
    data = str(tmp_path / "other")
    assert f"cannot listen on 127.0.0.1:{port}" in _fails_to_start("--data", data, "--port", port, "--engine", QUICK_ENGINE)
    assert "another node is using" in _fails_to_start("--data", str(running.data), "--port", "0", "--engine", QUICK_ENGINE)
    assert "cannot start the engine '/no/engine'" in _fails_to_start("--data", data, "--port", "0", "--engine", "/no/engine")
    assert "printed no JSON" in _fails_to_start("--data", data, "--port", "0", "--engine", "echo hello")
    assert "ended with code 1" in _fails_to_start("--data", data, "--port", "0", "--engine", "false")
    assert "--parallel" in _fails_to_start("--data", data, "--parallel", "0")
    assert "not be negative" in _fails_to_start("--data", data, "--max-images", "-3")
