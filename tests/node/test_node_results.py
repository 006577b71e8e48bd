"""What a completed task hands out: the layout of all.zip, and its download in ranges."""
import io
import json
import zipfile

import pytest
from pyodm.types import TaskStatus

from tests.node.harness import JPEG, NodeProgram, shell_engine, wait_for


@pytest.fixture(scope="module")
def done(node: NodeProgram) -> str:
    task = node.new_task("a.jpg", "b.jpg")
    node.wait_status(task, 40)
    return task


def download(node: NodeProgram, task: str, **headers: str):
    return node.get(f"/task/{task}/download/all.zip", headers={"Range": headers["range"]} if headers else {})


def members(data: bytes) -> dict:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_layout_as_nodeodm_has_it(node: NodeProgram, done: str) -> None:
    files = members(download(node, done).content)
    assert set(files) == {
        "odm_texturing/odm_textured_model_geo.obj", "odm_texturing/odm_textured_model_geo.mtl", "odm_texturing/odm_textured_model_geo.glb",
        "odm_texturing/odm_textured_model_geo_material0000_map_Kd.png", "odm_georeferencing/odm_georeferenced_model.ply",
        "odm_georeferencing/odm_georeferenced_model.las", "odm_report/stats.json", "cameras.json", "images.json", "log.json",
        "task_output.txt",
    }
    assert [photo["filename"] for photo in json.loads(files["images.json"])] == ["a.jpg", "b.jpg"]
    assert "Compressing all.zip" in files["task_output.txt"].decode()
    assert files["task_output.txt"].decode().splitlines() == node.get(f"/task/{done}/output").json()


def test_headers(node: NodeProgram, done: str) -> None:
    answer = download(node, done)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"] == "attachment; filename=all.zip"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_ranges(node: NodeProgram, done: str) -> None:
    whole = download(node, done).content
    size = len(whole)
    for wanted, first, last in [("bytes=0-9", 0, 9), ("bytes=100-199", 100, 199), (f"bytes={size - 5}-", size - 5, size - 1),
                                ("bytes=-7", size - 7, size - 1), (f"bytes=10-{size * 2}", 10, size - 1)]:
        answer = download(node, done, range=wanted)
        assert answer.status_code == 206, wanted
        assert answer.content == whole[first:last + 1]
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        assert int(answer.headers["Content-Length"]) == last - first + 1
    beyond = download(node, done, range=f"bytes={size}-")
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{size}"


def test_pyodm_downloads_in_parallel_ranges(node: NodeProgram, done: str, tmp_path) -> None:
    whole = download(node, done).content
    path = node.pyodm().get_task(done).download_zip(str(tmp_path), parallel_downloads=4, parallel_chunks_size=2000 / (1024 * 1024))
    with open(path, "rb") as file:
        assert file.read() == whole


def test_pyodm_extracts_the_assets(node: NodeProgram, done: str, tmp_path) -> None:
    node.pyodm().get_task(done).download_assets(str(tmp_path))
    assert (tmp_path / "odm_texturing" / "odm_textured_model_geo.obj").read_text().count("\nf ") == 300


def test_other_assets_and_unfinished_tasks(node: NodeProgram, done: str) -> None:
    for asset in ("orthophoto.tif", "..%2f..%2fnode.sqlite3", "task_output.txt"):
        assert node.get(f"/task/{done}/download/{asset}").json() == {"error": "Invalid asset"}
    failed = node.new_task(quick_mode="fail")
    node.wait_status(failed, 30)
    assert download(node, failed).json() == {"error": "Asset not ready"}


def test_chosen_outputs(node: NodeProgram) -> None:
    outputs = json.dumps(["odm_texturing", "cameras.json", "../../node.sqlite3", "/etc/passwd", "nothing"])
    task = node.post("/task/new", files=[("images", ("a.jpg", JPEG))], data={"outputs": outputs}).json()["uuid"]
    node.wait_status(task, 40)
    names = set(members(download(node, task).content))
    assert {name.split("/")[0] for name in names} == {"odm_texturing", "cameras.json"}


def test_links_are_not_followed_into_a_result(make_node, tmp_path) -> None:
    (tmp_path / "secret").write_text("secret")
    engine = tmp_path / "linking.sh"
    shell_engine(
        engine, f'mkdir "$OUT/odm_texturing"; echo x > "$OUT/odm_texturing/m.obj"; ln -s {tmp_path}/secret "$OUT/odm_texturing/l"; '
                f'ln -s {tmp_path} "$OUT/odm_report"'
    )
    node = make_node(engine=str(engine))
    task = node.new_task()
    node.wait_status(task, 40)
    assert set(members(download(node, task).content)) == {"odm_texturing/m.obj", "task_output.txt"}


def test_a_restart_takes_the_old_result_away(node: NodeProgram) -> None:
    task = node.new_task()
    node.wait_status(task, 40)
    assert node.pyodm().get_task(task).restart({"quick-seconds": 1.0})
    assert download(node, task).json() == {"error": "Asset not ready"}
    wait_for(lambda: node.status(task) == 40)
    assert download(node, task).status_code == 200
    assert node.pyodm().get_task(task).info().status is TaskStatus.COMPLETED
