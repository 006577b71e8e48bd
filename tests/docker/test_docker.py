"""WebODM in Docker with us in it, from nothing to a scan and back out, on a real Docker engine and stand-in images.

The images are not WebODM's: no registry can be reached. They hold the sandbox host in WebODM's layout (dev/standins/webodm), so what is
proved is our side: images, compose files, flags, settings, nginx, restarts, update, backup and removal.
"""
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from dev.sandbox.stack import ROOT
from tests.docker import images, wrappers
from tests.docker.engine import Engine
from tests.docker.steps import Steps
from tests.docker.trial import Trial

pytestmark = pytest.mark.docker

#: What Compose's env files cut, expand or change, each version in its own way.
HARD = {"WO_SMTP_PASSWORD": """pa$$w$ord ${HOME} #1 it's "so" \\ \nsecond line""", "WO_SMTP_HOST": "mail.example.org",
        "WO_SMTP_USER": "a=b 'c'"}
OUR_CONTAINERS = ("webapp", "worker", "extensions-worker")
#: A machine behind a proxy that does not work, and that nobody told about exceptions.
BAD_PROXY = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def make_admin(trial: Trial) -> None:
    """WebODM's first page does this in a browser."""
    trial.inside("webapp", "python", "manage.py", "shell", "-c", "from django.contrib.auth.models import User; "
                 "User.objects.create_superuser('admin', 'a@example.org', 'admin')")


def kill_all(trial: Trial) -> None:
    """kill -9 of our containers' first processes, as the kernel does it when memory runs out."""
    for name in OUR_CONTAINERS:
        os.kill(int(trial.inspect(name)["State"]["Pid"]), signal.SIGKILL)


def findings(trial: Trial) -> dict[str, list[dict[str, Any]]]:
    """What doctor finds, by name."""
    answer = json.loads(trial.webodm("doctor", "--json", check=False).stdout)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in answer["findings"]:
        found.setdefault(finding["name"], []).append(finding)
    return found


def test_from_nothing_to_a_scan_and_out_again(engine: Engine, compose: str, tmp_path: Path, request: pytest.FixtureRequest,
                                              say: Callable[[str], None]) -> None:
    steps = Steps(f"Compose {request.node.callspec.params['compose']}", say)
    trial = Trial(engine, tmp_path / "Web ODM", compose)
    try:
        _story(engine, trial, steps, tmp_path)
    finally:
        steps.print_table()
        engine.clear(images.KEPT)


def _story(engine: Engine, trial: Trial, steps: Steps, tmp_path: Path) -> None:
    """One story, since each step stands on the one before."""
    with steps.step("start on a fresh database, path with a space, a proxy that does not work"):
        trial.webodm("start", "--detached", "--hostname", "web.example.org", **BAD_PROXY)
        trial.wait_ready()
        dangling = engine.docker("images", "-q", "--filter", "dangling=true", "--filter", "label=webodm-extensions.version").stdout
        assert not dangling.strip(), "the image was built twice"
        assert {trial.inspect(name)["Config"]["Image"] for name in OUR_CONTAINERS} == {"webodm-extensions:local"}

    with steps.step("a token, and a scan through nginx"):
        make_admin(trial)
        began = time.monotonic()
        printed = trial.manage("openscan_token", "create", "--kind", "private", "--mail", "ada@example.org", "--forename", "Ada",
                               "--surname", "Lovelace", "--credit", "50GB")
        steps.note(f"manage took {time.monotonic() - began:.1f} s")
        token = printed.splitlines()[0].strip()
        assert len(token) == 32 and "INFO" not in printed
        first, _ = trial.scan(token)

    with steps.step("a request line of 60 kB"):
        status, body = trial.get(f"/api/openscan/getTokenInfo?token={token}&filelist={'x' * 60_000}", headers=trial.BASIC)
        assert status == 200 and b"credit" in body, (status, body[:200])

    with steps.step("settings with quotes, dollar signs and line ends, character for character"):
        trial.webodm("start", "--detached", "--port", "8123", "--hostname", "web.example.org", **HARD)
        trial.wait_ready(port=8123)
        for name in OUR_CONTAINERS:
            assert {key: trial.variables(name).get(key) for key in HARD} == HARD, name

    with steps.step("restart and logs with another environment keep flags and settings"):
        printed = trial.webodm("logs", "--tail", "5", WO_SMTP_PASSWORD="another").stdout
        assert "webapp" in printed and "db " not in printed
        trial.webodm("restart", WO_SMTP_PASSWORD="another")
        trial.wait_ready(port=8123)
        assert {key: trial.variables("worker").get(key) for key in HARD} == HARD
        refused = trial.webodm("restart", "--port", "80", check=False)
        assert refused.returncode == 1 and "takes no flags" in refused.stderr
        trial.webodm("start", "--fresh", "--detached")
        trial.wait_ready()
        assert not set(HARD) & set(trial.variables("worker")), "--fresh forgets"

    with steps.step("no secret in the image, and none in the access log"):
        history = engine.docker("history", "--no-trunc", "webodm-extensions:local").stdout
        image = engine.docker("image", "inspect", "webodm-extensions:local").stdout
        log = trial.inside("webapp", "cat", "/var/log/nginx/access.log")
        assert "pa$$w" not in history + image and "second line" not in history + image
        assert "/api/openscan/" in log and token not in log and "?token=" not in log

    with steps.step("kill -9 of all our containers in the middle of a scan"):
        name = trial.start_scan(token)
        kill_all(trial)
        trial.wait_ready()
        trial.result(token, name)

    with steps.step("a scheduler that did not survive a start runs all the same"):
        trial.inside("webapp", "sed", "-i", "/scheduler start/a [ -e /tmp/died ] || { touch /tmp/died; kill -9 $$; }", "worker.sh")
        engine.docker("restart", "webapp")
        trial.wait_ready()
        assert trial.inside("webapp", "ls", "/tmp/died") and trial.inside("webapp", "pgrep", "-f", "worker beat")

    with steps.step("healthy by their own health checks"):
        for container in OUR_CONTAINERS:
            trial.wait_healthy(container)

    with steps.step("doctor finds no fault but the public address that is not set"):
        found = findings(trial)
        faults = [one for each in found.values() for one in each if one["level"] == "fault"]
        assert not faults, faults
        assert found["web"][0]["level"] == found["queue"][0]["level"] == "good", found

    with steps.step("manage never falls back to the sandbox"):
        engine.docker("stop", "-t", "2", "webapp")
        down = trial.webodm("manage", "openscan_token", "list", check=False)
        assert down.returncode == 1 and "is not running" in down.stderr and "sandbox" not in down.stderr
        away = trial.webodm("manage", "openscan_token", "list", check=False, DOCKER_HOST="unix:///nowhere/docker.sock")
        assert away.returncode == 1 and "docker does not answer" in away.stderr and "sandbox" not in away.stderr
        engine.docker("start", "webapp")
        trial.wait_ready()

    with steps.step("WebODM's own script drops us; doctor says so, start brings us back"):
        trial.own_script("start", "--detached")
        trial.wait("WebODM without us", lambda: trial.get("/login/")[0] == 200 and trial.get("/api/openscan/status")[0] == 404)
        told = trial.webodm("doctor", check=False)
        assert told.returncode == 1 and "./webodm.sh start" in told.stderr, told.stderr
        trial.webodm("start", "--detached")
        trial.wait_ready()
        assert b"credit" in trial.get(f"/api/openscan/getTokenInfo?token={token}", headers=trial.BASIC)[1]

    _versions(engine, trial, steps, token)
    _backup_and_restore(engine, trial, steps, token, first, tmp_path)

    with steps.step("the second start without a network, as the systemd unit does it"):
        unit = trial.webodm("unit").stdout
        assert f'"WEBODM_DIR={trial.directory}"' in unit and f'ExecStart="{ROOT}/webodm.sh" start --again' in unit
        trial.webodm("down")
        trial.webodm("start", "--again", **BAD_PROXY)
        trial.wait_ready()

    with steps.step("uninstall leaves our tables"):
        trial.webodm("uninstall")
        trial.own_script("start", "--detached")
        trial.wait("WebODM without us", lambda: trial.get("/login/")[0] == 200)
        assert trial.get("/api/openscan/status")[0] == 404
        assert trial.sql("SELECT count(*) FROM openscan_token") == "1"

    with steps.step("back in, and out with --purge"):
        trial.webodm("start", "--detached")
        trial.wait_ready()
        assert b"credit" in trial.get(f"/api/openscan/getTokenInfo?token={token}", headers=trial.BASIC)[1]
        trial.webodm("uninstall", "--purge")
        trial.own_script("start", "--detached")
        trial.wait("WebODM without us", lambda: trial.get("/login/")[0] == 200)
        assert trial.sql("SELECT count(*) FROM pg_tables WHERE tablename ~ '^(openscan|tapis)_'") == "0"
        assert trial.sql("SELECT count(*) FROM app_plugin WHERE name IN ('openscan_cloud', 'tapis_storage')") == "0"
        assert trial.sql("SELECT count(*) FROM app_project") != "0", "WebODM's own rows stay"
        assert "openscan" not in trial.inside("webapp", "ls", "/webodm/app/media", "/webodm/app/media/plugins")


def _versions(engine: Engine, trial: Trial, steps: Steps, token: str) -> None:
    """Another version behind the same tag; update, an update that fails, and rollback."""
    before = trial.inspect("webapp")["Image"]
    tag = images.TARGETS["webapp"]
    original = engine.docker("image", "inspect", "--format", "{{.Id}}", tag).stdout.strip()
    origin = trial.directory.parent / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(trial.directory), str(origin)], check=True)
    branch = trial.git("rev-parse", "--abbrev-ref", "HEAD")
    trial.git("remote", "add", "origin", str(origin))
    trial.git("fetch", "-q", "origin")
    trial.git("branch", "-q", f"--set-upstream-to=origin/{branch}")

    with steps.step("start refuses to change WebODM's version"):
        images.derive(engine, tag, wrappers.PUBLISHED, version="3.3.0")
        engine.docker("tag", wrappers.PUBLISHED, tag)
        refused = trial.webodm("start", "--detached", check=False)
        assert refused.returncode == 1 and "from 3.2.4 to 3.3.0" in refused.stderr, refused.stderr
        engine.docker("tag", original, tag)
        refused = trial.webodm("update", check=False)
        assert refused.returncode == 1 and "not tested" in refused.stderr and "still runs as before" in refused.stderr, refused.stderr
        assert trial.inspect("webapp")["Image"] == before and trial.get("/login/")[0] == 200
        assert engine.docker("image", "inspect", "--format", "{{.Id}}", tag).stdout.strip() == original

    with steps.step("an update that cannot be built leaves the running WebODM alone"):
        images.derive(engine, tag, wrappers.PUBLISHED, run="rm -r /webodm/venv/lib/python3.9/site-packages/pip")
        failed = trial.webodm("update", check=False)
        assert failed.returncode == 1 and "still runs as before" in failed.stderr, failed.stderr
        assert trial.inspect("webapp")["Image"] == before and trial.get("/login/")[0] == 200

    with steps.step("update"):
        images.derive(engine, tag, wrappers.PUBLISHED, run="touch /webodm/next-version")
        commit = trial.publish(origin, "WebODM's next version")
        trial.webodm("update")
        trial.wait_ready()
        assert trial.inspect("webapp")["Image"] != before and trial.inside("webapp", "ls", "/webodm/next-version")
        assert trial.git("rev-parse", "HEAD") == commit
        assert list((trial.directory / "webodm-extensions-backups").glob("database-*.sql.gz")), "a dump before migrations"
        assert b"credit" in trial.get(f"/api/openscan/getTokenInfo?token={token}", headers=trial.BASIC)[1]

    with steps.step("rollback"):
        trial.webodm("rollback")
        trial.wait_ready()
        assert trial.inspect("webapp")["Image"] == before and trial.git("rev-parse", "HEAD") != commit
        nothing = trial.webodm("rollback", check=False)
        assert nothing.returncode == 1 and "there is no previous version" in nothing.stderr


def _backup_and_restore(engine: Engine, trial: Trial, steps: Steps, token: str, scan: str, tmp_path: Path) -> None:
    """Everything into a directory, and a fresh project out of it."""
    kept = tmp_path / "kept"
    with steps.step("backup of everything"):
        failed = trial.webodm("backup", "/nowhere/rows.sql.gz", check=False)
        assert failed.returncode == 1 and "/nowhere" in failed.stderr and ".rows.sql.gz." not in failed.stderr, failed.stderr
        trial.webodm("backup", "--all", str(kept), "--media")
        assert (kept.stat().st_mode & 0o777) == 0o700
    with steps.step("restore into a fresh project"):
        refused = trial.webodm("restore", str(kept), check=False)
        assert refused.returncode == 1 and "WebODM is running" in refused.stderr
        trial.webodm("down")
        left = engine.docker("ps", "-a", "--filter", "label=com.docker.compose.project", "--format", "{{.Names}} {{.Status}}").stdout
        assert left == "", "containers that `down` left"
        engine.docker("container", "prune", "--force")  # Docker's old builder keeps that of the build that failed, and its volume
        volumes = engine.docker("volume", "ls", "-q").stdout.split()
        engine.docker("volume", "rm", *volumes)
        (trial.directory / ".secret_key").unlink()
        trial.webodm("restore", str(kept))
        trial.wait_ready()
        assert trial.result(token, scan)[:2] == b"PK", "the same token and the same result"
        assert "adds up" in trial.manage("openscan_check")


@pytest.mark.parametrize("compose", ["v2"], indirect=True)
def test_tls_and_our_own_node(engine: Engine, compose: str, tmp_path: Path, say: Callable[[str], None]) -> None:
    """`--ssl` with a certificate, `--with-node` without WebODM's node: the engine is the real one."""
    steps = Steps("TLS and our node, Compose v2", say)
    trial = Trial(engine, tmp_path / "WebODM", compose)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=web.example.org", "-keyout",
                    str(key), "-out", str(certificate)], check=True, capture_output=True)
    try:
        with steps.step("start --with-node --ssl"):
            trial.webodm("start", "--with-node", "--detached", "--default-nodes", "0", "--ssl", "--ssl-key", str(key), "--ssl-cert",
                         str(certificate), "--hostname", "web.example.org", timeout=1800)
            trial.wait_ready("https")
        with steps.step("doctor over TLS: the node is there, and everybody may use it"):
            make_admin(trial)
            token = trial.token()
            trial.wait("the node to be online", lambda: findings(trial)["nodes"][0]["level"] == "good")
            assert findings(trial)["web"][0]["level"] == "good"
            assert trial.sql("SELECT count(*) FROM nodeodm_processingnodegroupobjectpermission") != "0"
        with steps.step("restart keeps TLS and the node"):
            trial.webodm("restart")
            trial.wait_ready("https")
            assert trial.inspect("scan-node")["State"]["Running"]
        with steps.step("a first model by our engine"):
            trial.scan(token, photos=6, scheme="https")
    finally:
        steps.print_table()
        engine.clear(images.KEPT)


def test_compose_by_hand(engine: Engine, compose: str, tmp_path: Path) -> None:
    """`docker compose up --build` without our webodm.sh, as docs/admin/docker.md shows it."""
    trial = Trial(engine, tmp_path / "WebODM", compose)
    words = ["docker-compose"] if "docker-compose" in os.listdir(compose.split(":")[0]) else ["docker", "compose"]
    files = ["-f", "docker-compose.yml", "-f", "docker-compose.nodeodm.yml", "-f", str(ROOT / "docker-compose.override.yml")]
    environment = engine.environment({"PATH": compose, "WEBODM_EXTENSIONS_DIR": str(ROOT), "WEBODM_IMAGE": images.TARGETS["webapp"],
                                      "WO_SECRET_KEY": "by hand"})
    try:
        done = subprocess.run([*words, *files, "up", "--build", "-d"], cwd=str(trial.directory), env=environment, capture_output=True,
                              text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        trial.wait_ready()
    finally:
        engine.clear(images.KEPT)
