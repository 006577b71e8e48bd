"""Answers questions about a WebODM from inside: run by its own Python in its directory as `probe.py QUESTION worker`.

Prints one line of JSON. The word `worker` is what WebODM's settings look for to know that no web server is booting here.
Stands alone: it imports nothing of ours but what is under examination.
"""
import importlib
import json
import os
import sys
import time
import traceback
from typing import Any, Callable

LABELS = ("openscan", "tapis")
CHECKS = ("openscan.", "tapis.", "webodm_extensions.")
PLUGINS = ("openscan_cloud", "tapis_storage")
TASK_MODULES = ("app_extensions.openscan.tasks", "app_extensions.tapis.tasks")
#: How the names of our Celery jobs begin.
JOBS = {"app_extensions.openscan": "app_extensions.openscan.", "app_extensions.tapis": "app.tasks.tapis_storage."}
#: The preset that our migrations leave (app_extensions/openscan/processing/object_preset.py).
PRESET = "OpenScan object"
#: A root mount of each plugin.
MOUNTS = {"openscan_cloud": "/api/openscan/status", "tapis_storage": "/api/tapis-storage/systems"}
#: Modules that come with our requirements, by the name that pip knows.
MODULES = {"cryptography": "cryptography.fernet", "PyYAML": "yaml", "pillow-heif": "pillow_heif", "opencv-python-headless": "cv2",
           "prometheus_client": "prometheus_client", "tapipy": "tapipy.tapis"}


def setup() -> None:
    """Starts Django on WebODM's settings, from the working directory."""
    import django

    django.setup()


def short(error: BaseException) -> str:
    """An exception in one line."""
    return "; ".join(traceback.format_exception_only(type(error), error)[-1].strip().splitlines())


def facts() -> dict[str, Any]:
    """What an install needs to know. Loads no application, so that it answers when one of ours is broken."""
    import django
    from django.conf import settings

    return {"webodm": settings.VERSION, "django": django.get_version(), "python": sys.version.split()[0],
            "media_root": os.path.abspath(settings.MEDIA_ROOT)}


def state() -> dict[str, Any]:
    """Which of our apps run, and which of them have migrations that were not run yet."""
    setup()
    from app.models import Plugin

    return {"apps": installed_apps(), "unmigrated": sorted({label for label, _ in missing_migrations()}),
            "disabled": sorted(Plugin.objects.filter(name__in=PLUGINS, enabled=False).values_list("name", flat=True))}


def migrate(*labels: str) -> dict[str, Any]:
    """Runs the missing migrations of our apps `labels`.

    In one process and without the system checks: with them, every manage.py of WebODM's imports all its pages and plugins first.
    """
    setup()
    from django.core.management import call_command

    for label in labels:
        call_command("migrate", label, interactive=False)
    return {"migrated": labels}


def enable() -> dict[str, Any]:
    """Switches on those of our plugins that WebODM has rows for."""
    setup()
    from app.models import Plugin

    return {"enabled": Plugin.objects.filter(name__in=PLUGINS).update(enabled=True)}


def register_node(host: str, port: str) -> dict[str, Any]:
    """Makes a processing node known, and lets the group of all users use it. What an administrator changed since stays."""
    setup()
    from django.contrib.auth.models import Group
    from guardian.shortcuts import assign_perm
    from nodeodm.models import ProcessingNode

    node, made = ProcessingNode.objects.get_or_create(hostname=host, port=int(port), defaults={"label": host})
    if made:
        for group in Group.objects.filter(name="Default"):
            assign_perm("view_processingnode", group, node)
    return {"made": made}


def missing_migrations() -> list[tuple[str, str]]:
    """Our migrations that the database has not seen: label and name."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] in LABELS]
    return [(one.app_label, one.name) for one, _ in executor.migration_plan(targets) if one.app_label in LABELS]


def database_address() -> dict[str, str]:
    """The database as libpq's environment names it, for pg_dump. Holds its password: for a pipe, never for print."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    return {variable: str(database.get(name) or "") for variable, name in names.items()}


def installed_apps() -> list[str]:
    """Labels of our apps that Django runs."""
    from django.apps import apps

    return [label for label in LABELS if apps.is_installed(f"app_extensions.{label}")]


def leavings() -> dict[str, Any]:
    """What a purge would delete: tables, rows in WebODM's tables, directories."""
    setup()
    from app.models import Preset
    from django.conf import settings
    from django.contrib.contenttypes.models import ContentType
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder

    applied = {app for app, _ in MigrationRecorder(connection).applied_migrations()}
    directories = [os.path.join(settings.MEDIA_ROOT, name) for name in ("openscan", "tapis", os.path.join("project", ".incoming"))]
    try:
        from app_extensions.openscan.conf import conf

        if conf.storage_dir:  # which may hold something else beside what is ours
            directories += [os.path.join(conf.storage_dir, name) for name in ("scans", "results", ".incoming")]
    except ImportError as error:
        print(short(error), file=sys.stderr)
    return {"tables_of": [label for label in LABELS if label in applied and label in installed_apps()],
            "rows": [f"{number} {what}" for number, what in (
                (ContentType.objects.filter(app_label__in=LABELS).count(), "content types with their permissions"),
                (len(_plugin_rows()), "plugins"), (Preset.objects.filter(name=PRESET, system=True).count(), "preset")) if number],
            "directories": [one for one in directories if os.path.isdir(one)]}


def _plugin_rows() -> list[str]:
    from app.models import Plugin

    return list(Plugin.objects.filter(name__in=PLUGINS).values_list("name", flat=True))


def forget(*labels: str) -> dict[str, Any]:
    """Deletes the tables of our apps `labels`, then what WebODM's own tables hold on us."""
    setup()
    from app.models import Plugin, PluginDatum, Preset
    from django.apps import apps
    from django.contrib.contenttypes.models import ContentType
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder

    with connection.schema_editor() as editor:  # all or nothing; going back through the migrations is slow, and leaves a sequence
        for label in labels:
            for model in apps.get_app_config(label).get_models(include_auto_created=True):
                editor.execute(f"DROP TABLE IF EXISTS {editor.quote_name(model._meta.db_table)} CASCADE")
        MigrationRecorder(connection).migration_qs.filter(app__in=labels).delete()
    deleted = Preset.objects.filter(name=PRESET, system=True).delete()[0]
    for name in PLUGINS:
        deleted += PluginDatum.objects.filter(key__startswith=f"{name}::").delete()[0]
    deleted += Plugin.objects.filter(name__in=PLUGINS).delete()[0]
    deleted += ContentType.objects.filter(app_label__in=LABELS).delete()[0]
    return {"deleted": deleted}


# -- the doctor's questions ---------------------------------------------------------------------------------------------

def guarded(question: Callable[[], Any]) -> Any:
    """A question's answer, or `{"error": …}`: one broken part must not hide the others."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - told to the person who asked
        return {"error": short(error)}


def override() -> dict[str, Any]:
    """Whether the settings override works when it is imported by itself, where WebODM would swallow its ImportError."""
    from django.conf import settings

    answer: dict[str, Any] = {"error": "", "file": ""}
    try:
        module = importlib.import_module("webodm.settings_override")
        answer["file"] = module.__file__
    except Exception as error:  # noqa: BLE001 - told
        answer["error"] = short(error)
    answer["problems"] = list(getattr(settings, "APP_EXTENSIONS_PROBLEMS", []))
    answer["apps"] = installed_apps()
    answer["includes"] = [name for name in TASK_MODULES if name in settings.CELERY_INCLUDE]
    return answer


def modules() -> dict[str, str]:
    """Which of our requirements cannot be imported: the package's name and the error."""
    failed = {}
    for name, module in MODULES.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - told
            failed[name] = short(error)
    return failed


def database() -> dict[str, Any]:
    """The database's version, our migrations that are missing, and foreign keys of ours that would bind WebODM's rows."""
    from django.db import connection

    missing = [".".join(names) for names in missing_migrations()]
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = cursor.fetchone()[0]
        cursor.execute("SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'")
        ours = tuple(f"{label}_" for label in LABELS)
        binding = [f"{table} -> {other}" for table, other in cursor.fetchall()
                   if table.startswith(ours) and not other.startswith(ours)]
    return {"version": version, "missing_migrations": missing, "binding": binding}


def checks() -> list[dict[str, Any]]:
    """Django's system checks that concern us."""
    from django.core.checks import run_checks

    return [{"id": found.id, "level": found.level, "text": found.msg, "hint": found.hint or ""}
            for found in run_checks() if str(found.id or "").startswith(CHECKS)]


def plugins() -> dict[str, Any]:
    """Our plugins as WebODM sees them, and whether their root mounts are in the URL configuration."""
    from app.models import Plugin
    from app.plugins.functions import get_plugins
    from django.urls import Resolver404, resolve

    rows = dict(Plugin.objects.filter(name__in=PLUGINS).values_list("name", "enabled"))
    answer: dict[str, Any] = {}
    for plugin in get_plugins():
        if plugin.get_name() in PLUGINS:
            answer[plugin.get_name()] = {"row": plugin.get_name() in rows, "enabled": rows.get(plugin.get_name(), False)}
    for name, path in MOUNTS.items():
        try:
            resolve(path)
            mounted = True
        except Resolver404:
            mounted = False
        if name in answer:
            answer[name]["mounted"] = mounted
    return answer


def broker() -> dict[str, Any]:
    """Whether the Celery broker answers, and which of its workers know our tasks."""
    from worker.celery import app

    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0.2, timeout=5)
    registered = app.control.inspect(timeout=3.0).registered() or {}
    workers = {name: [app_name for app_name, prefix in JOBS.items() if any(task.startswith(prefix) for task in tasks)]
               for name, tasks in registered.items()}
    return {"workers": workers}


def beat() -> dict[str, Any]:
    """Our entries in the schedule, and how long ago beat last ran one of them (None: Redis knows of no run)."""
    from worker.celery import app

    entries = [name for name, entry in app.conf.beat_schedule.items()
               if str(entry.get("task", "")).startswith("app_extensions.")]
    from app_extensions.host.heartbeat import last_beat_at

    last = last_beat_at()
    return {"entries": entries, "age_seconds": None if last is None else max(0.0, time.time() - last)}


def queue() -> dict[str, Any]:
    """The Celery queue of our jobs, WebODM's default one, and the workers that take jobs from ours."""
    from worker.celery import app

    from app_extensions.host import celery_queue

    with app.connection_for_read() as connection:  # asking the workers has no end where the broker does not answer
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0.2, timeout=5)
    return {"name": celery_queue.queue_name(), "default": celery_queue.default_queue(), "workers": celery_queue.listening_workers(),
            "unit": os.path.join(os.getcwd(), "webodm-extensions-worker.service")}


def owners() -> dict[str, Any]:
    """How many processing nodes there are, and the owners of OpenScan tokens that are not revoked, each with how many they may use.

    The last owner may be `{"user": None, "tokens": […]}`: prefixes of tokens whose WebODM user was deleted.
    """
    from django.contrib.auth import get_user_model

    from app_extensions.host.nodes import all_nodes, nodes_for
    from app_extensions.openscan.models import Token

    live = Token.objects.filter(revoked_at=None)
    users = get_user_model().objects.filter(pk__in=live.values("owner_id").distinct())
    answer: list[dict[str, Any]] = []
    for user in users[:1000]:
        nodes = nodes_for(user)
        answer.append({"user": user.get_username(), "nodes": len(nodes), "online": sum(1 for node in nodes if node.online)})
    ownerless = list(live.exclude(owner_id__in=get_user_model().objects.values("pk")).values_list("prefix", flat=True)[:20])
    owners = answer + ([{"user": None, "tokens": ownerless}] if ownerless else [])
    return {"nodes": len(all_nodes()), "owners": owners}


def preset() -> dict[str, Any]:
    """The preset that scans are processed with, the owners of live tokens who have none of that name, and the system's names."""
    from django.contrib.auth import get_user_model

    from app_extensions.host import presets
    from app_extensions.openscan.conf import conf
    from app_extensions.openscan.models import Token

    owners = get_user_model().objects.filter(pk__in=Token.objects.filter(revoked_at=None).values("owner_id").distinct())
    missing = [user.get_username() for user in owners.order_by("pk")[:1000] if not presets.has_preset(conf.preset, user)]
    return {"name": conf.preset, "missing": missing, "system": presets.preset_names()}


def mail() -> dict[str, Any]:
    """Whether mail can go out: the server is asked for its greeting, nothing is sent."""
    from django.conf import settings
    from django.core.mail import get_connection

    answer = {"backend": settings.EMAIL_BACKEND, "host": settings.EMAIL_HOST, "port": settings.EMAIL_PORT,
              "from": settings.DEFAULT_FROM_EMAIL, "error": ""}
    if settings.EMAIL_BACKEND == "django.core.mail.backends.smtp.EmailBackend":
        connection = get_connection(timeout=5)
        try:
            connection.open()
            connection.close()
        except (OSError, ValueError) as error:  # smtplib's errors are OSErrors
            answer["error"] = short(error)
    return answer


def public() -> dict[str, Any]:
    """The addresses that links are built on."""
    from django.conf import settings

    from app_extensions.openscan.conf import conf

    return {"openscan": conf.public_url, "basic": [conf.basic_user, conf.basic_password], "ssl": os.environ.get("WO_SSL", ""),
            "proxy_header": list(getattr(settings, "SECURE_PROXY_SSL_HEADER", None) or []),
            "host": os.environ.get("WO_HOST", ""), "port": os.environ.get("WO_PORT", "")}


def disk() -> dict[str, Any]:
    """Free bytes where uploads go, and the reserve that no upload may eat into."""
    import shutil

    from django.conf import settings

    from app_extensions.openscan.conf import conf

    directory = conf.storage_dir or settings.MEDIA_ROOT
    return {"directory": directory, "free_bytes": shutil.disk_usage(directory).free, "reserve_bytes": conf.free_reserve_bytes}


def objects() -> dict[str, Any]:
    """Whether the object storage that the settings name takes, lists and gives up objects; a small one is written and removed."""
    from app_extensions.openscan.results.object_storage import checks, client

    place = client.place()
    return {"place": place, "problem": checks.try_it() if place else ""}


def tapis() -> dict[str, Any]:
    """How many Tapis clients are active, and which Tapis users get an account at their first login."""
    from app_extensions.tapis.conf import conf
    from app_extensions.tapis.models import TapisOAuth2Client

    return {"clients": TapisOAuth2Client.objects.filter(is_active=True).count(),
            "allowed": conf.allowed_users if conf.create_users else ""}


QUESTIONS = (override, modules, database, checks, plugins, broker, queue, beat, owners, preset, mail, public, disk, objects, tapis)


def doctor() -> dict[str, Any]:
    """All of the doctor's questions; but two where Django does not even start."""
    answer = facts()
    try:
        setup()
    except Exception as error:  # noqa: BLE001 - told to the person who asked
        return {**answer, "setup_error": short(error), "modules": modules(), "public": {"error": ""}}
    for question in QUESTIONS:
        answer[question.__name__] = guarded(question)
        if question is override and len(installed_apps()) < len(LABELS):  # nothing else of ours can be looked at
            return {**answer, "modules": modules(), "public": {"error": ""}}
    return answer


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webodm.settings")
    questions = (facts, state, migrate, enable, database_address, leavings, forget, register_node, doctor)
    answer = {question.__name__: question for question in questions}[sys.argv[1]](*sys.argv[3:])
    print(json.dumps(answer, default=str))
