"""The states of a job: one table, and nothing else that writes them."""
import ast

import pytest

from dev.sandbox.stack import ROOT


def test_every_state_is_reached_and_only_ends_have_no_way_out():
    from app_extensions.tapis import lifecycle
    from app_extensions.tapis.models import TapisJob

    assert {row.target for row in lifecycle.TABLE} == set(TapisJob.STATES)
    left = {state for row in lifecycle.TABLE for state in row.sources}
    assert set(TapisJob.STATES) - left == {"completed", "failed", "canceled"}
    assert {row.target for row in lifecycle.TABLE if row.ends} == {"completed", "failed", "canceled"}
    assert set(TapisJob.OPEN) == left


def test_nothing_but_the_lifecycle_writes_a_job_s_state():
    """Neither ``job.state = …`` nor ``update(state=…)`` on jobs."""
    found = []
    for path in sorted((ROOT / "app_extensions" / "tapis").rglob("*.py")) + sorted((ROOT / "plugins" / "tapis_storage").rglob("*.py")):
        if path.name == "lifecycle.py" or "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign):
                found += [f"{path.name}:{node.lineno}" for target in node.targets
                          if isinstance(target, ast.Attribute) and target.attr == "state"
                          and getattr(target.value, "id", "") in ("job", "fresh")]
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update" and "TapisJob" in ast.dump(node.func):
                found += [f"{path.name}:{node.lineno}" for keyword in node.keywords if keyword.arg == "state"]
    assert found == []


def test_the_documented_diagram_is_the_table():
    from app_extensions.tapis import lifecycle

    assert lifecycle.diagram() in (ROOT / "docs" / "contributing" / "tapis-jobs.md").read_text()


@pytest.mark.parametrize("state, event, becomes", [
    ("queued", "claim", "running"), ("running", "claim", "running"), ("paused", "claim", None), ("completed", "claim", None),
    ("running", "put off", "queued"), ("running", "pause", "paused"), ("paused", "pause", None), ("paused", "resume", "queued"),
    ("queued", "complete", None), ("running", "complete", "completed"), ("queued", "fail", "failed"), ("failed", "cancel", None),
    ("paused", "cancel", "canceled"), ("canceled", "resume", None),
])
def test_an_event_counts_in_its_states_only(live_db, unique, state, event, becomes):
    from app_extensions.host import users
    from app_extensions.tapis import lifecycle
    from app_extensions.tapis.models import TapisJob

    job = TapisJob.objects.create(kind="discovery", user=users.create_user("s" + unique), state=state, access_token="secret")
    after = lifecycle.apply(job.pk, event, "because", lease_owner="me")
    job.refresh_from_db()
    assert (after is None) == (becomes is None) and job.state == (becomes or state)
    assert job.lease_owner == ("me" if after else "")
    if after and becomes != state:
        assert [(step["from"], step["to"], step["event"], step["why"]) for step in job.history] == [(state, becomes, event, "because")]
    if job.state in ("completed", "failed", "canceled") and after:
        assert job.access_token == "" and job.finished_at is not None and job.error == "because"
    TapisJob.objects.filter(pk=job.pk).delete()


def test_a_worker_that_lost_its_lease_changes_nothing(live_db, unique):
    from app_extensions.host import users
    from app_extensions.tapis import lifecycle
    from app_extensions.tapis.models import TapisJob

    job = TapisJob.objects.create(kind="discovery", user=users.create_user("o" + unique), state="running", lease_owner="another")
    assert lifecycle.apply(job.pk, lifecycle.COMPLETE, owner="me") is None
    assert lifecycle.apply(job.pk, lifecycle.COMPLETE, owner="another") is not None
    TapisJob.objects.filter(pk=job.pk).delete()
