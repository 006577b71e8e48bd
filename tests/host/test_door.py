"""`app_extensions/host`: projects, tasks, nodes, presets, quotas and users of WebODM, as the applications see them."""
import shutil
import uuid
from datetime import timedelta

import pytest
from django.core.exceptions import SuspiciousFileOperation, ValidationError
from django.utils import timezone

from tests.plugin import ROOT

PHOTOS = sorted((ROOT / "tests" / "data" / "photos" / "banana").glob("*.JPG"))
pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(unique):
    from app_extensions.host.users import create_user

    return create_user(f"owner-{unique}", "owner@example.org")


@pytest.fixture
def project(owner):
    from app_extensions.host.projects import create_project

    return create_project(owner, "a project", "with words", ["a", "b c"])


@pytest.fixture
def task(project):
    from app_extensions.host.tasks import create_waiting_task, task_dir

    task = create_waiting_task(project, "a task")
    yield task
    shutil.rmtree(task_dir(task))


@pytest.fixture
def node(owner, unique):
    """A node that the owner may use, and that answered a moment ago."""
    from guardian.shortcuts import assign_perm
    from nodeodm.models import ProcessingNode

    node = ProcessingNode(hostname="127.0.0.1", port=1, label=unique, last_refreshed=timezone.now(), max_images=50, engine="odm",
                          available_options=[{"name": "dsm", "type": "bool"}, {"name": "mesh-size", "type": "int"}])
    ProcessingNode.objects.bulk_create([node])  # saved without being asked for its state
    node = ProcessingNode.objects.get(label=unique)
    owner.groups.clear()  # the sandbox lets the default group use its own node
    assign_perm("view_processingnode", owner, node)
    return node


# Projects

@pytest.mark.parametrize(("text", "suffix", "length", "end"), [
    ("short", "", 5, "short"),
    ("x" * 255, "", 255, "xxx"),
    ("x" * 256, "", 255, "…"),
    ("x" * 300, " (2)", 255, "… (2)"),
    ("ü" * 300, "", 255, "…"),
])
def test_names_are_clipped(text, suffix, length, end):
    from app_extensions.host.projects import clip_name

    name = clip_name(text, suffix)
    assert len(name) == length
    assert name.endswith(end)


def test_projects_have_tags_and_an_owner_who_may_do_all(project, owner):
    from app_extensions.host import projects

    assert project.tags == "a b_c", "WebODM separates tags by spaces"
    assert projects.project_tags(project) == ["a", "b_c"]
    assert all(projects.user_can(owner, verb, project) for verb in ("view", "change", "add", "delete"))
    assert [projects.safe_tag(text) for text in ("one, two", " three ", ".hidden", "a#1")] == ["one_two", "three", "_hidden", "a_1"]
    project.tags = "openscan,private seen"
    project.save()
    assert projects.write_tags_by_spaces([project.pk]) == 1 and projects.write_tags_by_spaces([project.pk]) == 0
    assert projects.project_tags(projects.get_project(project.pk)) == ["openscan", "private", "seen"]


def test_strangers_may_not(project, unique):
    from app_extensions.host.projects import user_can
    from app_extensions.host.users import create_user

    assert not user_can(create_user(f"stranger-{unique}"), "view", project)


def test_projects_that_are_going_are_gone(project, task):
    from app_extensions.host.projects import delete_project, get_project

    delete_project(project)
    assert get_project(project.pk) is None
    assert get_project(None) is None


# Tasks

def test_a_new_task_waits_untouched(task):
    from worker.tasks import get_pending_tasks

    from app_extensions.host.tasks import WAITING, task_state

    assert task_state(task).status == WAITING
    assert not get_pending_tasks().filter(pk=task.pk).exists()


def test_tasks_are_found_by_id_and_by_nothing_else(task):
    from app_extensions.host.tasks import get_task

    assert get_task(str(task.pk)) == task
    assert get_task(uuid.uuid4()) is None
    assert get_task("no id") is None
    assert get_task(None) is None


def test_names_of_images_are_file_names(task):
    from app_extensions.host.tasks import image_path, task_dir

    assert image_path(task, "a.jpg") == task_dir(task) / "a.jpg"
    for name in ("", ".", "..", "../x", "a/b.jpg", "/etc/passwd", "a\0b"):
        with pytest.raises((ValueError, SuspiciousFileOperation)):
            image_path(task, name)


def test_what_comes_in_lies_beside_and_is_not_counted(task):
    from app_extensions.host.tasks import incoming_dir, task_dir

    incoming = incoming_dir(task)
    (incoming / "x.part").write_bytes(b"x")
    assert task_dir(task) not in incoming.parents
    assert incoming.stat().st_dev == task_dir(task).stat().st_dev
    assert task.scan_images() == []
    shutil.rmtree(incoming)


def test_commit_counts_and_queues_after_the_transaction(task, settings):
    from django.db import connection

    from app_extensions.host.tasks import QUEUED, commit_task, task_dir, task_state

    for photo in PHOTOS[:3]:
        shutil.copy(photo, task_dir(task))
    queued = len(connection.run_on_commit)
    commit_task(task, options=[{"name": "dsm", "value": True}])
    assert len(connection.run_on_commit) == queued + 1
    assert (task.images_count, task.auto_processing_node, task.options) == (3, True, [{"name": "dsm", "value": True}])
    assert task.size * (1 << 20) == pytest.approx(sum(photo.stat().st_size for photo in PHOTOS[:3]))
    assert task_state(task).status == QUEUED


def test_commit_to_a_node(task, node):
    from app_extensions.host.tasks import commit_task, task_state

    commit_task(task, node_id=node.pk)
    assert (task.auto_processing_node, task.processing_node_id) == (False, node.pk)
    assert task_state(task).node_label == node.label


def test_a_task_on_a_node_is_busy_and_a_finished_one_starts_anew(task):
    from app_extensions.host.tasks import TaskBusyError, commit_task

    task.status = 20
    task.save()
    with pytest.raises(TaskBusyError):
        commit_task(task)
    task.status, task.uuid, task.last_error, task.running_progress = 30, "known", "bad luck", 0.5
    task.save()
    commit_task(task)
    assert (task.status, task.uuid, task.last_error, task.running_progress) == (None, "", None, 0.0)


def test_bad_options_are_refused(project):
    from app_extensions.host.tasks import create_waiting_task

    with pytest.raises(ValidationError):
        create_waiting_task(project, "x", [{"name": "dsm", "value": False}])


@pytest.mark.parametrize(("fields", "status", "progress"), [
    ({"auto_processing_node": True}, "queued", 0.0),
    ({"partial": True, "auto_processing_node": True}, "waiting", 0.0),
    ({"status": 10}, "queued", 0.0),
    ({"status": 20, "running_progress": 0.4}, "running", 0.4),
    ({"status": 30, "last_error": "x"}, "failed", 0.0),
    ({"status": 40, "running_progress": 0.9}, "completed", 1.0),
    ({"status": 50}, "canceled", 0.0),
    ({"status": 50, "pending_action": 3}, "queued", 0.0),
])
def test_states(task, fields, status, progress):
    from app_extensions.host.tasks import task_state

    for name, value in fields.items():
        setattr(task, name, value)
    state = task_state(task)
    assert (state.status, state.progress, state.node_error) == (status, progress, fields.get("last_error", ""))
    assert bool(state.error) is (status == "failed")
    assert state.pending_action == ("restart" if "pending_action" in fields else None)
    assert state.processing_seconds is None


def test_a_queued_task_tells_why_it_waits(task, owner, node):
    from guardian.shortcuts import remove_perm

    from app_extensions.host.tasks import task_state

    task.auto_processing_node = True
    assert task_state(task).hint == ""
    node.last_refreshed = timezone.now() - timedelta(minutes=6)
    node.save()
    assert "online" in task_state(task).hint
    remove_perm("view_processingnode", owner, node)
    assert owner.username in task_state(task).hint


def test_restarting_a_task_that_never_had_a_node_sends_it(task):
    from app_extensions.host.tasks import restart_task

    restart_task(task)
    assert (task.pending_action, task.auto_processing_node) == (None, True)


def test_actions_are_left_to_the_workers(task, node):
    from app_extensions.host import tasks

    task.processing_node, task.last_error = node, "x"
    task.save()
    for act, number in ((tasks.cancel_task, 1), (tasks.remove_task, 2), (tasks.restart_task, 3)):
        act(task)
        task.refresh_from_db()
        assert (task.pending_action, task.last_error) == (number, None)


def test_links_unfold_the_task(task):
    from app_extensions.host.tasks import task_url

    project = task.project_id
    # The dashboard shows ten projects a page, and passes its query on to the API, which then leaves this one only.
    assert task_url(task) == f"/dashboard/?id={project}&project_task_open={project}&project_task_expanded={task.pk}"


# Nodes, presets, quotas

def test_only_permitted_nodes_count(owner, node, unique):
    from app_extensions.host.nodes import nodes_for
    from app_extensions.host.users import create_user

    found = nodes_for(owner)
    assert [(one.id, one.label, one.online, one.max_images) for one in found] == [(node.pk, unique, True, 50)]
    assert found[0].option_names == {"dsm", "mesh-size"}
    assert node.pk not in [one.id for one in nodes_for(create_user(f"other-{unique}"))]


def test_room_is_what_the_nodes_have_left(owner, node, task):
    from app_extensions.host.nodes import free_places

    assert free_places(owner, 2) == 2
    task.processing_node, task.status = node, 20
    task.save()
    assert free_places(owner, 2) == 1
    task.processing_node, task.status, task.auto_processing_node = None, None, True
    task.save()
    assert free_places(owner, 2) == 1
    task.status = 40
    task.save()
    node.queue_count = 1
    node.save()
    assert free_places(owner, 2, refresh=False) == 1
    node.last_refreshed = None
    node.save()
    assert free_places(owner, 2) == 0


def test_presets_of_the_user_come_before_the_systems(owner):
    from app.models import Preset

    from app_extensions.host.presets import preset_options

    Preset.objects.create(name="Contract", system=True, options=[{"name": "dsm", "value": True}])
    assert preset_options("contract", owner) == [{"name": "dsm", "value": True}]
    Preset.objects.create(name="Contract", owner=owner, options=[{"name": "dtm", "value": True}])
    assert preset_options("Contract", owner) == [{"name": "dtm", "value": True}]
    assert preset_options("Contract") == [{"name": "dsm", "value": True}]
    with pytest.raises(LookupError):
        preset_options("no such preset", owner)


def test_options_are_cut_down_to_what_a_node_knows(owner, node):
    from app_extensions.host.nodes import nodes_for
    from app_extensions.host.presets import filter_options

    options = [{"name": "dsm", "value": True}, {"name": "dtm", "value": True}, {"name": "mesh-size", "value": False}]
    assert filter_options(options, nodes_for(owner)[0]) == [{"name": "dsm", "value": True}]
    assert filter_options(options, None) == options[:2]


def test_quotas_are_in_megabytes_of_two_to_the_twenty(owner, task):
    from app_extensions.host.quota import quota_exceeded

    assert not quota_exceeded(owner, 1 << 50)
    owner.profile.quota = 10
    task.size = 6
    task.save()
    assert not quota_exceeded(owner)
    assert not quota_exceeded(owner, 4 << 20)
    assert quota_exceeded(owner, (4 << 20) + 1)


# Users, plugins, media

def test_new_users_may_work_and_cannot_log_in_by_password(owner):
    assert owner.groups.filter(name="Default").exists()
    assert owner.has_perm("app.add_project")
    assert not owner.has_usable_password()


def test_plugins_are_enabled_or_not():
    from app.models import Plugin

    from app_extensions.host.plugins import plugin_enabled

    Plugin.objects.create(name="on")
    Plugin.objects.create(name="off", enabled=False)
    assert [plugin_enabled(name) for name in ("on", "off", "unknown")] == [True, False, False]


def test_free_bytes_of_what_is_not_there_yet(tmp_path):
    from app_extensions.host.media import free_bytes

    there = shutil.disk_usage(tmp_path).free
    assert abs(free_bytes(tmp_path / "not" / "yet") - there) < 1 << 30
