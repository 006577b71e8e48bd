"""Contract, "Extension apps": settings, jobs, signals and packages of those who extend WebODM."""
import pytest

from tests.support.waiting import until


def program(note: dict) -> str:
    """What kind of process left a note."""
    words = note["cmdline"]
    if any(word.endswith("gunicorn") for word in words):
        return "web"
    if any(word.endswith("celery") for word in words):
        return "beat" if "beat" in words else "worker"
    return "manage.py" if any(word.endswith("manage.py") for word in words) else "other"


def test_the_ground_has_the_pinned_versions(host):
    versions = host.shell(
        "import sys, django, rest_framework, celery, kombu, redis, jwt, psycopg2, boto3, gunicorn\n"
        "from importlib import metadata\n"
        "result = [list(sys.version_info[:2]), django.get_version(), rest_framework.VERSION, celery.__version__, kombu.__version__,\n"
        "          redis.__version__, jwt.__version__, psycopg2.__version__.split()[0], boto3.__version__, gunicorn.__version__,\n"
        "          metadata.version('pyodm')]")
    assert versions == [[3, 9], "2.2.27", "3.13.1", "4.4.0", "4.6.7", "3.2.0", "1.5.3", "2.8.6", "1.14.14", "23.0.0", "1.5.11"]


def test_the_override_is_imported_last_and_its_names_are_settings(probe):
    assert probe.shell("from django.conf import settings\nresult = settings.CONTRACT_PROBE") == "read from the override"
    assert probe.shell("from django.apps import apps\nresult = apps.is_installed('contract_probe_app')")


OVERRIDDEN = """
import os, sys, tempfile
sys.path.insert(0, os.getcwd())
directory = tempfile.mkdtemp()
for name, content in files.items():
    with open(os.path.join(directory, name), "w") as stream:
        stream.write(content)
import webodm
webodm.__path__.insert(0, directory)
import webodm.settings as settings
print("loaded", getattr(settings, "PROBE", "absent"), "app" in settings.INSTALLED_APPS)
"""


@pytest.mark.parametrize(("override", "outcome"), [
    ("PROBE = 'there'", "loaded there True"),
    ("from webodm.settings import VERSION as PROBE", "loaded 3."),
    ("import no_such_module\nPROBE = 'there'", "loaded absent True"),
    ("PROBE = 'before'\nfrom os import no_such_name", "loaded absent True"),
])
def test_an_import_error_in_the_override_is_swallowed(host, override, outcome):
    done = host.fresh_python(OVERRIDDEN, files={"settings_override.py": override})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(outcome)


def test_other_errors_in_the_override_are_not_and_bare_additions_are_errors(host):
    done = host.fresh_python(OVERRIDDEN, files={"settings_override.py": "INSTALLED_APPS += ['x']"})
    assert done.returncode != 0
    assert "NameError" in done.stderr


def test_migrations_of_extensions_can_depend_on_the_first_of_the_apps(host):
    assert host.shell("from django.db.migrations.recorder import MigrationRecorder\nfrom django.db import connection\n"
                      "result = ('app', '0001_initial') in MigrationRecorder(connection).applied_migrations()")


def test_the_old_django_lacks_what_it_lacks(host):
    assert host.shell("from django.db import models\n"
                      "result = [hasattr(models, 'JSONField'), hasattr(models, 'TextChoices')]") == [False, False]


def test_path_converters_do_nothing_in_plugin_mounts(host):
    """Mounts go through `url()`, which takes regular expressions."""
    assert host.shell("from app.plugins import MountPoint\nfrom django.conf.urls import url\n"
                      "mount = MountPoint('scan/<int:number>$', lambda request: None)\n"
                      "result = url(mount.url, mount.view).resolve('scan/1') is None")


def test_ready_runs_in_web_worker_beat_and_manage(probe):
    notes = probe.notes("ready")
    assert {"web", "worker", "beat", "manage.py"} <= {program(note) for note in notes}


def test_ready_runs_before_gunicorn_forks(probe):
    """With --preload: one note of the master, none of its workers."""
    web = [note["pid"] for note in probe.notes("ready") if program(note) == "web"]
    answering = probe.shell("import requests\nresult = [requests.get(url).json()['pid'] for _ in range(10)]",
                            url=f"{probe.url}/contract-probe/open")
    assert web
    assert not set(web) & set(answering)


def test_the_schedule_is_webodms_plus_what_ready_adds(probe):
    names = probe.shell("from worker.celery import app\nresult = sorted(app.conf.beat_schedule)")
    assert {"update-nodes-info", "cleanup-projects", "cleanup-tasks", "cleanup-tmp-directory", "cleanup-cache-directory",
            "process-pending-tasks", "check-quotas", "contract-probe"} <= set(names)


def test_periods_of_the_schedule(host):
    periods = host.shell("from worker.celery import app\n"
                         "result = {name: entry['schedule'] for name, entry in app.conf.beat_schedule.items()}")
    assert {name: periods[name] for name in ("update-nodes-info", "process-pending-tasks", "cleanup-tasks", "check-quotas",
                                             "cleanup-tmp-directory", "cleanup-projects")} == {
        "update-nodes-info": 30, "process-pending-tasks": 5, "cleanup-tasks": 3600, "check-quotas": 3600,
        "cleanup-tmp-directory": 3600, "cleanup-projects": 60}


def test_a_celery_beat_schedule_setting_would_take_the_place_of_webodms(host):
    done = host.fresh_python(OVERRIDDEN + """
os.environ["DJANGO_SETTINGS_MODULE"] = "webodm.settings"
from celery import Celery
app = Celery("tasks")
app.config_from_object("django.conf:settings", namespace="CELERY")
print(sorted(app.conf.beat_schedule))
""", files={"settings_override.py": "CELERY_BEAT_SCHEDULE = {'mine': {'task': 'x', 'schedule': 1}}"})
    assert done.stdout.splitlines()[-1] == "['mine']", done.stderr


def test_beat_runs_added_entries_and_the_worker_knows_the_included_module(probe):
    before = len(probe.notes("tick"))
    until(lambda: len(probe.notes("tick")) > before, 20)
    assert program(probe.notes("tick")[-1]) == "worker"


def test_a_missing_module_in_celery_include_kills_the_worker(host):
    done = host.fresh_python(OVERRIDDEN + """
os.environ["DJANGO_SETTINGS_MODULE"] = "webodm.settings"
sys.argv = ["celery", "-A", "worker", "worker", "--pool", "solo", "-Q", "contract-nobody", "-n", "contract@none", "--loglevel", "error"]
import threading
timer = threading.Timer(25, os._exit, (77,))  # a living worker never ends by itself
timer.daemon = True
timer.start()
from celery.__main__ import main
main()
""", files={"settings_override.py": "CELERY_INCLUDE = ['worker.tasks', 'no_such_module_of_tasks']"})
    assert done.returncode not in (0, 77)
    assert "no_such_module_of_tasks" in done.stderr + done.stdout


def test_an_appended_path_makes_services_and_tasks_importable_and_models_need_their_own(host):
    done = host.fresh_python("""
import os, sys, tempfile
sys.path.insert(0, os.getcwd())
directory = tempfile.mkdtemp()
for path in ("contract_services/x.py", "contract_tasks/x.py", "models/contract_x.py"):
    os.makedirs(os.path.dirname(os.path.join(directory, path)), exist_ok=True)
    open(os.path.join(directory, path), "w").write("HERE = 1")
import app
app.__path__.append(directory)
os.environ["DJANGO_SETTINGS_MODULE"] = "webodm.settings"
import django
django.setup()
import app.contract_services.x, app.contract_tasks.x
try:
    import app.models.contract_x
except ImportError as error:
    print("no", error.name)
import app.models
app.models.__path__.append(os.path.join(directory, "models"))
import app.models.contract_x
print("yes", app.models.contract_x.HERE)
""")
    assert done.stdout.splitlines()[-2:] == ["no app.models.contract_x", "yes 1"], done.stderr


def test_models_outside_an_app_need_an_explicit_label(host):
    error = host.shell(
        "from django.db import models\n"
        "def make(**meta):\n"
        "    Meta = type('Meta', (), meta)\n"
        "    return type('ContractThing', (models.Model,), {'__module__': 'contract_nowhere', 'Meta': Meta})\n"
        "try:\n    make()\n    result = None\nexcept RuntimeError as error:\n    result = str(error)\n"
        "make(app_label='app', managed=False)\n"
        "from django.apps import apps\ndel apps.all_models['app']['contractthing']")
    assert "app_label" in error


def test_signals_on_tasks_come_in_the_worker(probe, tasks, node):
    task = tasks.make(images=2, permit_node=node)
    tasks.run(task, "from worker.tasks import process_task\nprocess_task.delay(task.id)")
    until(lambda: tasks.values(task, "status") == [40], 60)

    def got(signal):
        return [note for note in probe.notes("signals") if note["task"] == task and note["signal"] == signal]

    completed = until(lambda: got("task_completed"))
    tasks.run(task, "from app import pending_actions\nfrom worker.tasks import process_task\n"
                    "task.pending_action = pending_actions.REMOVE\ntask.save()\nprocess_task.delay(task.id)")
    removed = until(lambda: got("task_removed"))
    assert {program(note) for note in completed + got("task_removing") + removed} == {"worker"}
    assert len(completed) == 1


def test_task_failed_comes_only_when_the_node_reports_it(probe, tasks, node):
    told = tasks.make(images=2, permit_node=node, options=[{"name": "quick-mode", "value": "fail"}])
    untold = tasks.make(images=2, auto_processing_node=False)
    tasks.run(untold, "task.set_failure('out of luck')")
    assert tasks.values(untold, "status", "last_error") == [30, "out of luck"]
    until(lambda: tasks.values(told, "status") == [30], 60)

    def failed():
        return {note["task"] for note in probe.notes("signals") if note["signal"] == "task_failed"}

    until(lambda: told in failed())
    assert untold not in failed()


def test_signals_come_while_the_plugin_is_disabled(probe, tasks):
    """They are the application's, not the plugin's."""
    session = probe.session()
    session.get(f"{probe.url}/admin/app/plugin/contract_probe/disable/")
    try:
        task = tasks.make()
        tasks.run(task, "from app import pending_actions\nfrom worker.tasks import process_task\n"
                        "task.pending_action = pending_actions.REMOVE\ntask.save()\nprocess_task.delay(task.id)")
        until(lambda: [note for note in probe.notes("signals") if note["task"] == task and note["signal"] == "task_removed"])
    finally:
        session.get(f"{probe.url}/admin/app/plugin/contract_probe/enable/")


def test_the_worker_listens_to_the_default_queue(host):
    def queues():
        return host.shell("from worker.celery import app\n"
                          "result = [queue['name'] for found in (app.control.inspect(timeout=10).active_queues() or {}).values()\n"
                          "          for queue in found]")

    assert set(until(queues)) == {"celery"}
    assert host.shell("from worker.celery import app\nresult = app.conf.task_default_queue") == "celery"


def test_testing_is_decided_by_the_first_argument(host):
    code = "import os, sys\nsys.path.insert(0, os.getcwd())\nsys.argv = argv\nimport webodm.settings as s\nprint(s.TESTING, s.MEDIA_ROOT)"
    flag, media = host.fresh_python(code, argv=["manage.py", "test"]).stdout.split()[-2:]
    assert (flag, media.endswith("media_test")) == ("True", True)
    flag, media = host.fresh_python(code, argv=["pytest", "tests"]).stdout.split()[-2:]
    assert (flag, media.endswith("media")) == ("False", True)
