"""WebODM in Docker with us in it, from nothing to a scan and back out, on a real Docker engine and stand-in images.

The images are not WebODM's: no registry can be reached. They hold the sandbox host in WebODM's layout (dev/standins/webodm), so what is
proved is our side: images, compose files, flags, settings, nginx, restarts, update, backup and removal.
"""
from pathlib import Path

import pytest

from tests.docker.engine import Engine
from tests.docker.steps import Steps
from tests.docker.trial import Trial

pytestmark = pytest.mark.docker


def test_from_nothing_to_a_scan(engine: Engine, compose: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    steps = Steps(f"Compose {request.node.callspec.params['compose']}")
    trial = Trial(engine, tmp_path / "Web ODM", compose)
    try:
        with steps.step("start on a fresh database"):
            trial.webodm("start", "--detached")
            trial.wait_ready()
        with steps.step("a scan through nginx"):
            trial.inside("webapp", "python", "manage.py", "shell", "-c",
                         "from django.contrib.auth.models import User; User.objects.create_superuser('admin', 'a@example.org', 'admin')")
            trial.scan(trial.token())
    finally:
        print(steps.table())
