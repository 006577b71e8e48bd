"""Contract, "Projects and tasks": what is processed, what waits, what is deleted, and what is found afterwards."""
import datetime
import uuid
from pathlib import Path

import pytest
import requests

from tests.support.waiting import until

PHOTOS = sorted((Path(__file__).parent.parent / "data" / "photos" / "banana").glob("*.JPG"))
WAITING = {"auto_processing_node": False, "partial": False}
POLL_SECONDS = 5


def pending(host, task: str) -> bool:
    return host.shell("from worker.tasks import get_pending_tasks\nresult = get_pending_tasks().filter(pk=pk).exists()", pk=task)


def age(tasks, task: str, hours: float) -> None:
    tasks.run(task, "from datetime import timedelta\nfrom django.utils import timezone\n"
                    "Task.objects.filter(pk=task.pk).update(created_at=timezone.now() - timedelta(hours=hours))", hours=hours)


def test_the_poll_skips_partial_tasks(host, tasks):
    assert not pending(host, tasks.make(images=2, partial=True))
    assert pending(host, tasks.make(images=2))


def test_the_cleanup_deletes_partial_tasks_after_72_hours(host, tasks):
    old, young, waiting = tasks.make(partial=True), tasks.make(partial=True), tasks.make(**WAITING)
    age(tasks, old, 73)
    age(tasks, young, 71)
    age(tasks, waiting, 1000)
    host.shell("from worker.tasks import cleanup_tasks\ncleanup_tasks()")
    assert [tasks.exists(task) for task in (old, young, waiting)] == [False, True, True]


def test_nothing_touches_a_task_without_a_node_that_wants_none(host, tasks, node):
    """Seen over two polls, while a task that wants a node is taken."""
    waiting = tasks.make(images=2, permit_node=node, **WAITING)
    before = tasks.run(waiting, "result = {field.name: str(getattr(task, field.name)) for field in task._meta.fields}")
    assert not pending(host, waiting)
    for _ in range(2):
        taken = tasks.make(images=2, permit_node=node)
        until(lambda taken=taken: tasks.values(taken, "processing_node")[0], 4 * POLL_SECONDS)
    after = tasks.run(waiting, "result = {field.name: str(getattr(task, field.name)) for field in task._meta.fields}")
    assert after == before


def test_a_completed_task_that_wants_a_node_and_has_none_is_picked_up_again(host, tasks):
    assert pending(host, tasks.make(status=40))
    assert not pending(host, tasks.make(status=40, auto_processing_node=False))


def test_commit(host, tasks, node):
    """The files written, the counts set, saved, queued: processed, with results under WebODM's names."""
    task = tasks.make(permit_node=node, **WAITING)
    tasks.run(task, "import os, shutil\nos.makedirs(task.task_path(), exist_ok=True)\n"
                    "for photo in photos:\n    shutil.copy(photo, task.get_image_path(os.path.basename(photo)))\n"
                    "task.images_count = len(task.scan_images())\ntask.update_size()\ntask.partial = False\n"
                    "task.auto_processing_node = True\ntask.save()\n"
                    "from worker.tasks import process_task\nprocess_task.delay(task.id)",
              photos=[str(path) for path in PHOTOS[:3]])
    until(lambda: tasks.values(task, "status") == [40], 60)
    count, megabytes, assets, progress = tasks.values(task, "images_count", "size", "available_assets", "running_progress")
    assert (count, progress) == (3, 1.0)
    assert megabytes * (1 << 20) >= sum(path.stat().st_size for path in PHOTOS[:3])
    assert {"all.zip", "textured_model.zip", "textured_model.glb"} <= set(assets)


def test_results_are_files_or_streams(host, tasks, node):
    task = tasks.make(images=2, permit_node=node)
    until(lambda: tasks.values(task, "status") == [40], 60)
    found = tasks.run(task, """
import io, os, zipfile
glb, packed = task.get_asset_file_or_stream("textured_model.glb"), task.get_asset_file_or_stream("textured_model.zip")
data = b"".join(packed)
try:
    task.get_asset_file_or_stream("no such thing")
    unknown = "found"
except FileNotFoundError:
    unknown = "FileNotFoundError"
names = zipfile.ZipFile(io.BytesIO(data)).namelist()
result = {"glb": os.path.isfile(glb), "in assets": glb.startswith(task.assets_path("")), "names": names, "unknown": unknown,
          "sized": len(task.get_asset_file_or_stream("textured_model.zip")) == len(data)}
""")
    assert (found["glb"], found["in assets"], found["unknown"], found["sized"]) == (True, True, "FileNotFoundError", True)
    assert "odm_textured_model_geo.obj" in found["names"]
    assert "odm_textured_model_geo.glb" not in found["names"]


def test_results_lie_where_we_look_for_them(tasks):
    """``assets.assets_dir`` knows the place by itself."""
    task = tasks.make(**WAITING)
    assert tasks.run(task, "import os\nfrom django.conf import settings\n"
                           "ours = os.path.join(settings.MEDIA_ROOT, 'project', str(task.project_id), 'task', str(task.pk), 'assets')\n"
                           "result = os.path.normpath(task.assets_path('')) == os.path.normpath(ours)")


def test_asset_names_and_status_codes(host):
    names = host.shell("from app.models import Task\nresult = list(Task.ASSETS_MAP)")
    assert {"textured_model.zip", "textured_model.glb", "all.zip", "georeferenced_model.laz", "georeferenced_model.ply"} <= set(names)
    codes = host.shell("from nodeodm import status_codes as codes\n"
                       "result = [codes.QUEUED, codes.RUNNING, codes.FAILED, codes.COMPLETED, codes.CANCELED]")
    assert codes == [10, 20, 30, 40, 50]
    assert host.shell("from app import pending_actions as actions\n"
                      "result = [actions.CANCEL, actions.REMOVE, actions.RESTART, actions.RESIZE, actions.IMPORT]") == [1, 2, 3, 4, 5]


def test_scan_images_counts_every_regular_file_at_the_top(tasks):
    task = tasks.make(images=1, **WAITING)
    names = tasks.run(task, "import os\n"
                            "for name in ('x.part', '.hidden', 'notes.txt'):\n    open(task.task_path(name), 'w').close()\n"
                            "os.makedirs(task.task_path('deeper'))\nopen(task.task_path('deeper', 'y.jpg'), 'w').close()\n"
                            "result = sorted(task.scan_images())")
    assert names == sorted(["x.part", ".hidden", "notes.txt", PHOTOS[0].name])


def test_image_paths_stay_inside(tasks):
    task = tasks.make(**WAITING)
    assert tasks.run(task, "from django.core.exceptions import SuspiciousFileOperation\n"
                           "try:\n    task.get_image_path('../../x.jpg')\n    result = False\n"
                           "except SuspiciousFileOperation:\n    result = True")


def test_an_unknown_import_url_is_ignored_without_an_import_and_crashes_with_one(host, tasks):
    idle = tasks.make(import_url="tapis://system/flight", **WAITING)
    tasks.run(idle, "task.process()")
    assert tasks.values(idle, "status", "last_error", "pending_action") == [None, None, None]
    broken = tasks.make(import_url="tapis://system/flight", **WAITING)
    error = tasks.run(broken, "import os\nfrom app import pending_actions\n"
                              "os.makedirs(task.assets_path(), exist_ok=True)\ntask.pending_action = pending_actions.IMPORT\n"
                              "try:\n    task.process()\n    result = None\n"
                              "except Exception as error:\n    result = type(error).__name__")
    assert error == "InvalidSchema"
    tasks.run(broken, "from app import pending_actions\n"
                      "Task.objects.filter(pk=task.pk).update(pending_action=pending_actions.IMPORT)")
    assert pending(host, broken)  # and so at every poll
    tasks.run(broken, "Task.objects.filter(pk=task.pk).update(pending_action=None)")


@pytest.mark.parametrize("value", [False, "", 0])
def test_options_whose_value_is_false_fail_validation(tasks, value):
    with pytest.raises(AssertionError, match="ValidationError"):
        tasks.make(options=[{"name": "dsm", "value": value}])


def test_the_primary_key_is_a_uuid(tasks):
    assert uuid.UUID(tasks.make(**WAITING)).version == 4


def test_webodm_deletes_rows_that_others_point_at_without_a_constraint(host, tasks):
    """A table of somebody whose application is away."""
    task = tasks.make(**WAITING)
    host.shell("from django.db import connection\n"
               "with connection.cursor() as cursor:\n"
               "    cursor.execute('CREATE TABLE contract_rows (task_id uuid)')\n"
               "    cursor.execute('INSERT INTO contract_rows VALUES (%s)', [task])", task=task)
    try:
        tasks.run(task, "task.delete()")
        assert not tasks.exists(task)
    finally:
        host.shell("from django.db import connection\nconnection.cursor().execute('DROP TABLE contract_rows')")


def test_tasks_of_users_who_may_use_no_node_wait_without_an_error(host, tasks, node):
    task = tasks.make(images=2)
    for _ in range(2):
        tasks.run(task, "task.process()")
    assert tasks.values(task, "processing_node", "status", "last_error", "pending_action") == [None, None, None, None]
    assert pending(host, task)


def test_node_permissions_are_on_the_node_not_on_the_model(host, make_user, node):
    """Everybody in the default group has the model's permission; it does not count."""
    name, password = make_user()
    found = host.shell("from django.contrib.auth.models import User\nfrom guardian.shortcuts import assign_perm\n"
                       "from nodeodm.models import ProcessingNode\n"
                       "user = User.objects.get(username=name)\n"
                       "before = [user.has_perm('nodeodm.view_processingnode'), ProcessingNode.find_best_available_node(user)]\n"
                       "assign_perm('view_processingnode', user, ProcessingNode.objects.get(pk=node))\n"
                       "result = before + [ProcessingNode.find_best_available_node(user).id]", name=name, node=node)
    assert found == [True, None, node]
    listed = host.session((name, password)).get(f"{host.url}/api/processingnodes/").json()
    assert [entry["id"] for entry in listed] == [node]


def test_quotas_are_not_asked_at_creation_and_the_hourly_check_deletes_the_newest(host, tasks):
    first = tasks.make(**WAITING)
    host.shell("from app.models import Profile\nProfile.objects.filter(user__username=name).update(quota=10)", name=tasks.owner)
    second, third = tasks.make(**WAITING), tasks.make(**WAITING)
    for number, task in enumerate((first, second, third)):
        age(tasks, task, 10 - number)
        tasks.run(task, "Task.objects.filter(pk=task.pk).update(size=6)")
    check = ("from app.models import Profile\nfrom worker.tasks import check_quotas\n"
             "profile = Profile.objects.get(user__username=name)\n")
    assert host.shell(check + "result = [profile.has_exceeded_quota(), profile.get_quota_deadline()]",
                      name=tasks.owner) == [True, None]
    deadline = host.shell(check + "check_quotas()\nresult = profile.get_quota_deadline()", name=tasks.owner)
    hours = (deadline - datetime.datetime.now().timestamp()) / 3600
    assert 7.9 < hours <= 8
    assert all(tasks.exists(task) for task in (first, second, third))
    host.shell(check + "profile.set_quota_deadline(-1)\ncheck_quotas()", name=tasks.owner)
    assert [tasks.exists(task) for task in (first, second, third)] == [True, False, False]


def test_tags_are_one_comma_separated_text_and_names_have_255_characters(host, user):
    found = host.shell(
        "from app.models import Project, Task\nfrom django.contrib.auth.models import User\n"
        "project = Project.objects.create(owner=User.objects.get(username=name), name='x', tags='tapis,flight 1')\n"
        "project.refresh_from_db()\n"
        "result = [project.tags, Project._meta.get_field('name').max_length, Task._meta.get_field('name').max_length]",
        name=user[0])
    assert found == ["tapis,flight 1", 255, 255]


def test_owners_have_all_permissions_on_their_projects(host, user):
    found = host.shell("from app.models import Project\nfrom django.contrib.auth.models import User\n"
                       "owner = User.objects.get(username=name)\nproject = Project.objects.create(owner=owner, name='x')\n"
                       "result = [owner.has_perm(verb + '_project', project) for verb in ('view', 'add', 'change', 'delete')]",
                       name=user[0])
    assert found == [True] * 4


def test_media_tmp_is_swept_after_24_hours(host):
    left = host.shell(
        "import os, time\nfrom django.conf import settings\nfrom worker.tasks import cleanup_tmp_directory\n"
        "def path(name):\n    return os.path.join(settings.MEDIA_TMP, 'contract-' + name)\n"
        "open(path('young'), 'w').close()\nopen(path('old'), 'w').close()\nos.makedirs(path('dir'))\n"
        "open(os.path.join(path('dir'), 'x'), 'w').close()\n"
        "for name in ('old', 'dir'):\n    os.utime(path(name), (time.time() - 90000,) * 2)\n"
        "cleanup_tmp_directory()\n"
        "result = [os.path.exists(path(name)) for name in ('young', 'old', 'dir')]\nos.remove(path('young'))")
    assert left == [True, False, False]


def test_deleting_a_project_with_tasks_waits_for_the_workers(host, tasks):
    task = tasks.make(**WAITING)
    project = tasks.values(task, "project")[0]
    tasks.run(task, "task.project.delete()")
    assert host.shell("from app.models import Project\nresult = Project.objects.get(pk=pk).deleting", pk=project)
    until(lambda: not tasks.exists(task), 6 * POLL_SECONDS)
    host.shell("from worker.tasks import cleanup_projects\ncleanup_projects()")
    assert not host.shell("from app.models import Project\nresult = Project.objects.filter(pk=pk).exists()", pk=project)


def test_the_api_takes_photos_and_gives_results(host, user, node):
    host.shell("from django.contrib.auth.models import User\nfrom guardian.shortcuts import assign_perm\n"
               "from nodeodm.models import ProcessingNode\n"
               "assign_perm('view_processingnode', User.objects.get(username=name), ProcessingNode.objects.get(pk=node))",
               name=user[0], node=node)
    session = host.session(user)
    project = session.post(f"{host.url}/api/projects/", json={"name": "contract", "tags": ["a", "b"]}).json()
    assert (project["tags"], sorted(project["permissions"])) == (["a", "b"], ["add", "change", "delete", "view"])
    base = f"{host.url}/api/projects/{project['id']}/tasks/"
    task = session.post(base, json={"name": "contract", "partial": True}).json()
    assert (task["partial"], task["status"]) == (True, None)
    url = f"{base}{task['id']}/"
    with PHOTOS[0].open("rb") as one, PHOTOS[1].open("rb") as two:
        sent = session.post(url + "upload/", files=[("images", one), ("images", two)]).json()
    assert sent == {"success": True, "uploaded": {path.name: path.stat().st_size for path in PHOTOS[:2]}}
    assert session.post(url + "commit/").json()["images_count"] == 2
    done = until(lambda: (lambda now: now if now["status"] == 40 else None)(session.get(url).json()), 60)
    assert done["processing_node_name"] == "contract node"
    answer = session.get(url + "download/textured_model.zip")
    assert (answer.status_code, answer.content[:2], int(answer.headers["Content-Length"])) == (200, b"PK", len(answer.content))
    assert session.get(url + "download/nothing.zip").status_code == 404
    assert requests.get(url + "download/textured_model.zip").status_code == 404
    assert session.post(url + "restart/").json() == {"success": True}
    until(lambda: session.get(url).json()["status"] in (None, 10, 20) or session.get(url).json()["pending_action"] is None, 30)
    assert session.post(url + "remove/").json() == {"success": True}

    def is_removed() -> bool:
        """A worker that holds the row (here it still writes down the restart) may write over an action: it is asked for again then."""
        answer = session.get(url)
        if answer.status_code == 200 and answer.json()["pending_action"] is None:
            session.post(url + "remove/")
        return answer.status_code == 404

    until(is_removed, 60)


def test_a_task_on_a_node_can_be_canceled(host, tasks, user, node):
    task = tasks.make(images=2, permit_node=node, options=[{"name": "quick-mode", "value": "hang"}])
    until(lambda: tasks.values(task, "status") == [20], 60)
    session = host.session(user)
    project = tasks.values(task, "project")[0]
    assert session.post(f"{host.url}/api/projects/{project}/tasks/{task}/cancel/").json() == {"success": True}
    until(lambda: tasks.values(task, "status", "pending_action") == [50, None], 30)


def test_system_presets_are_there(host, user):
    presets = {preset["name"]: {option["name"]: option["value"] for option in preset["options"]}
               for preset in host.session(user).get(f"{host.url}/api/presets/").json() if preset["system"]}
    assert presets["3D Model"] == {"auto-boundary": True, "mesh-octree-depth": "12", "use-3dmesh": True, "pc-quality": "high",
                                   "mesh-size": "300000"}
    assert presets["Default"] == {"auto-boundary": True, "dsm": True}
    assert {"Multispectral", "Volume Analysis", "Buildings", "Forest", "DSM + DTM", "Field", "Fast Orthophoto",
            "High Resolution"} <= set(presets)
