"""What the version before left behind, after an upgrade."""
import importlib
from types import SimpleNamespace

from django.apps import apps
from django.db import connection


def test_projects_of_flights_get_webodm_s_own_form_of_tags(flyer):
    """The dashboard showed one badge `tapis,flight,…`, and split names with spaces."""
    from app.models import Project

    module = importlib.import_module("app_extensions.tapis.migrations.0003_tags_by_spaces")
    names = ["Plain", "With a space, and a comma", "Mine"]
    for name in names:
        flyer.flight(name, 1)
    flyer.import_all()
    former = {name: f"tapis,flight,{flyer.system},{name.replace(',', '_')}" for name in names}
    former["Mine"] += " beach"  # added by its owner in WebODM
    for name in names:
        Project.objects.filter(pk=flyer.project(name)).update(tags=former[name])
    for _ in range(2):
        module.write_spaces(apps, SimpleNamespace(connection=connection))
        tags = {name: Project.objects.get(pk=flyer.project(name)).tags for name in names}
        assert tags == {"Plain": f"tapis flight {flyer.system} Plain",
                        "With a space, and a comma": f"tapis flight {flyer.system} With_a_space_and_a_comma",
                        "Mine": f"tapis flight {flyer.system} Mine beach"}
    listed = {row["name"]: row["tags"] for row in flyer.get("tapis-storage/flight-projects/")["projects"]}
    assert listed[f"Plain ({flyer.system})"] == ["tapis", "flight", flyer.system, "Plain"]
    assert len(listed[f"With a space, and a comma ({flyer.system})"]) == 4


def test_tokens_projects_of_openscan_get_it_after_each_migrate(live_db, unique):
    from django.core.management import call_command

    from app_extensions.host import projects, users
    from app_extensions.openscan.models import Token

    owner = users.create_user("t" + unique)
    project = projects.create_project(owner, "OpenScan: somebody", "", ["x"])
    project.tags = "openscan,private"
    project.save()
    token = Token.objects.first()
    if token is None:
        from tests.openscan.helpers import private_token

        token = private_token()[0]
    before = token.webodm_project_id
    Token.objects.filter(pk=token.pk).update(webodm_project_id=project.pk)
    try:
        call_command("migrate", verbosity=0)
        project.refresh_from_db()
        assert project.tags == "openscan private"
    finally:
        Token.objects.filter(pk=token.pk).update(webodm_project_id=before)


def test_a_message_of_the_version_before_finds_nothing_to_do_or_does_what_is_due(flyer, consuming):
    from app_extensions.tapis import tasks
    from app_extensions.tapis.models import TapisJob

    consuming.pause()
    TapisJob.objects.filter(state__in=TapisJob.ACTIVE).delete()  # of tests that are over
    for name in ("sync_flight", "sync_batch", "run_discovery"):
        task = getattr(tasks, name)
        assert task.name == f"app.tasks.tapis_storage.{name}"
        assert task("0d1c5f0a-0000-0000-0000-000000000000") is False
