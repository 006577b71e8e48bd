"""Docker without an engine: Compose files, the Dockerfile, its steps, and what the image runs."""
import gzip
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from deploy import docker_backup
from deploy.webodm import VERSION
from dev.sandbox.processes import free_port
from dev.sandbox.stack import ROOT
from tests.install.conftest import OUR_PACKAGES, Target
from tests.plugin import need

HADOLINT = ROOT / ".venv" / "clients" / "bin" / "hadolint"
OVERRIDE = ROOT / "docker-compose.override.yml"

BASE = """\
version: '2.1'
volumes: {appmedia: {}}
services:
  db: {image: webodm/webodm_db}
  broker: {image: "redis:7.0.10"}
  webapp:
    image: webodm/webodm_webapp
    environment: [WO_SECRET_KEY, WO_PORT]
    ports: ["${WO_PORT}:8000"]
    volumes: ["appmedia:/webodm/app/media:z"]
  worker:
    image: webodm/webodm_webapp
    environment: [WO_SECRET_KEY]
    volumes: ["appmedia:/webodm/app/media:z"]
"""
MEMORY = "version: '2.1'\nservices:\n  worker:\n    mem_limit: ${WO_WORKER_MEMORY}\n"
#: As WebODM's own webodm.sh does it: reads flags, exports, chooses files, calls docker-compose by name.
WEBODM_SH = """\
#!/bin/bash
set -e
cd "$(dirname "$0")"
source .env
action=$1; shift
files="-f docker-compose.yml"
while [ $# -gt 0 ]; do case $1 in
  --port) export WO_PORT=$2; shift 2 ;;
  --settings) export WO_SETTINGS=$2; files="$files -f docker-compose.settings.yml"; shift 2 ;;
  --worker-memory) export WO_WORKER_MEMORY=$2; files="$files -f docker-compose.worker-memory.yml"; shift 2 ;;
  --detached) detached=-d; shift ;;
esac; done
export WO_SECRET_KEY=kept
case $action in
  start) docker-compose $files up $detached ;;
  restart) docker-compose $files down; docker-compose $files up $detached ;;
  update) docker-compose $files pull ;;
  *) docker-compose $files "$action" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with webodm.sh and compose files in WebODM's manner."""
    directory = tmp_path / "WebODM"
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(BASE)
    (directory / "docker-compose.worker-memory.yml").write_text(MEMORY)
    (directory / "docker-compose.settings.yml").write_text("version: '2.1'\nservices: {}\n")
    (directory / ".env").write_text("WO_PORT=8000\nWO_SETTINGS=\nWO_MEDIA_DIR=appmedia\n")
    (directory / "webodm.sh").write_text(WEBODM_SH)
    (directory / "webodm.sh").chmod(0o755)
    return directory


DOCKER = """\
#!/bin/bash
# A docker client: the images named in $IMAGES are here, and hold the WebODM of $VERSION; no container runs.
case "$*" in
  "image inspect --format {{.Id}} "*) name=${@: -1}; [[ " ${IMAGES-webodm/webodm_webapp webodm-extensions:local} " == *" $name "* ]] \\
      && echo "sha256:$name" || exit 1 ;;
  "run --rm "*) echo "{\\"version\\": \\"${VERSION-3.2.4}\\"}" ;;
  inspect*) exit 1 ;;
  pull*) exit 1 ;;
esac
exit 0
"""
#: How a stand-in for Compose answers when asked for WebODM's own configuration.
CONFIGURED = """\
case "$*" in
  "-f docker-compose.yml config") printf "services:\\n  webapp:\\n    image: webodm/webodm_webapp\\n"; exit 0 ;;
esac
"""


def run_docker(checkout: Path, tmp_path: Path, compose: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """`python deploy …` on the checkout; `compose` is a shell script in the place of the real Compose."""
    program, docker = tmp_path / "compose", tmp_path / "path" / "docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(DOCKER)
    program.write_text("#!/bin/bash\n" + CONFIGURED + compose)
    for path in (program, docker):
        path.chmod(0o755)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("WO_")}
    return subprocess.run([sys.executable, str(ROOT / "deploy"), *arguments], capture_output=True, text=True, timeout=300, env={
        **inherited, "WEBODM_DIR": str(checkout), "WEBODM_COMPOSE": str(program),
        "PATH": f"{docker.parent}:{os.environ['PATH']}", **env})


def test_merged_compose_files(checkout: Path, tmp_path: Path) -> None:
    """Compose itself merges and validates what `start` hands it, with WebODM's flags kept and a site's settings chained."""
    compose = need("docker-compose")
    site = tmp_path / "site.py"
    site.write_text("X = 1\n")
    stand_in = f'a=(); for x in "$@"; do case $x in up) a+=(config);; -d) ;; build) exit 0;; *) a+=("$x");; esac; done\n' \
               f'exec {compose} "${{a[@]}}"\n'
    done = run_docker(checkout, tmp_path, stand_in, "start", "--no-backup", "--detached", "--port", "8123", "--settings", str(site),
                      "--worker-memory", "2g", WO_OPENSCAN_PUBLIC_URL="https://scan.example.org", WO_UNRELATED="x")
    assert done.returncode == 0, done.stderr
    merged = yaml.safe_load(done.stdout[done.stdout.index("\nservices:") if "\nservices:" in done.stdout else 0:])["services"]
    assert [name for name in merged if "build" in merged[name]] == ["worker"], "built once"
    for name in ("webapp", "worker", "extensions-worker"):
        service = merged[name]
        assert service["image"] == "webodm-extensions:local"
        assert service["environment"]["WO_OPENSCAN_PUBLIC_URL"] == "https://scan.example.org"
        assert "WO_UNRELATED" not in service["environment"]
        assert service["environment"]["WO_SECRET_KEY"] == "kept"
        mounts = [str(volume) for volume in service["volumes"]]
        assert any("settings_override_site.py" in mount for mount in mounts), mounts
        assert not any("/settings_override.py" in mount for mount in mounts), "ours would be hidden"
    assert "8123" in str(merged["webapp"]["ports"]) and merged["worker"]["mem_limit"]


@pytest.mark.parametrize(("arguments", "calls"), [
    (["stop"], ["-f docker-compose.yml -f OURS -f SETTINGS stop"]),
    (["down"], ["-f docker-compose.yml -f OURS -f SETTINGS down"]),
    (["logs", "--tail", "5"], ["-f docker-compose.yml -f OURS -f SETTINGS logs --tail 5 webapp worker extensions-worker"]),
    (["logs", "db"], ["-f docker-compose.yml -f OURS -f SETTINGS logs db"]),
    (["update"], ["-f docker-compose.yml pull", "-f docker-compose.yml -f OURS -f SETTINGS build --build-arg VERSION=V worker"]),
    (["start", "--detached", "--no-backup"], ["-f docker-compose.yml -f OURS -f SETTINGS build --build-arg VERSION=V worker",
                                              "-f docker-compose.yml -f OURS -f SETTINGS up -d"]),
    (["start", "--with-node", "--no-backup"], [
        "-f docker-compose.yml -f OURS -f NODE -f SETTINGS build --build-arg VERSION=V worker scan-node",
        "-f docker-compose.yml -f OURS -f NODE -f SETTINGS up"]),
])
def test_what_compose_is_called_with(checkout: Path, tmp_path: Path, arguments: list, calls: list) -> None:
    log = tmp_path / "calls"
    done = run_docker(checkout, tmp_path, f'echo "$*" >> {log}\n', *arguments)
    assert done.returncode == 0, done.stderr
    called = log.read_text().replace(str(OVERRIDE), "OURS").replace(str(checkout / ".webodm-extensions-compose.yml"), "SETTINGS")
    called = called.replace(str(ROOT / "deploy" / "docker" / "compose.node.yml"), "NODE").replace(f"VERSION={VERSION}", "VERSION=V")
    assert called.splitlines() == calls


def test_what_a_start_was_told_is_kept(checkout: Path, tmp_path: Path) -> None:
    """Other commands replay its flags and settings, and overwrite neither; a start without flags repeats them."""
    log = tmp_path / "calls"
    compose = f'echo "$WO_PORT $*" >> {log}\n'

    def call(*arguments: str, **env: str) -> "tuple[subprocess.CompletedProcess[str], str]":
        log.unlink(missing_ok=True)
        done = run_docker(checkout, tmp_path, compose, *arguments, **env)
        return done, log.read_text() if log.exists() else ""

    call("start", "--port", "8123", "--detached", "--no-backup", WO_SMTP_PASSWORD="hush", WO_SMTP_HOST="mail")
    for words in (["logs"], ["restart"], ["down"], ["start", "--no-backup"], ["start", "--again"]):
        done, called = call(*words, WO_SMTP_PASSWORD="another" if words[0] != "start" else "hush")
        assert done.returncode == 0, done.stderr
        assert words == ["logs"] or called.splitlines()[-1].startswith("8123 "), (words, called)
        settings = (checkout / ".webodm-extensions-compose.yml").read_text()
        assert '"hush"' in settings and '"mail"' in settings and "another" not in settings, words
    done, _ = call("restart", "--port", "80")
    assert done.returncode == 1 and "takes no flags" in done.stderr
    call("start", "--fresh", "--detached", "--no-backup")
    _, called = call("restart")
    assert "8123" not in called and "hush" not in (checkout / ".webodm-extensions-compose.yml").read_text()


@pytest.mark.parametrize(("broken", "words"), [("pull", "could not be pulled"), ("build", "could not be built")])
def test_an_update_that_fails_stops_nothing(checkout: Path, tmp_path: Path, broken: str, words: str) -> None:
    """It fetches and builds first: what runs is not touched, and says so."""
    log = tmp_path / "calls"
    run_docker(checkout, tmp_path, "true\n", "start", "--no-backup", "--port", "8123")
    remembered = (checkout / ".webodm-extensions-start.json").read_text()
    done = run_docker(checkout, tmp_path, f'echo "$*" >> {log}; case " $* " in *" {broken} "*) exit 1;; esac\n', "update")
    assert done.returncode == 1 and words in done.stderr and "WebODM still runs as before" in done.stderr, done.stderr
    assert not re.search(r" (down|stop|up)\b", log.read_text()), log.read_text()
    assert (checkout / ".webodm-extensions-start.json").read_text() == remembered
    done = run_docker(checkout, tmp_path, "true\n", "rollback")
    assert done.returncode == 1 and "there is no previous version" in done.stderr


@pytest.mark.parametrize(("env", "flags", "words"), [
    ({"VERSION": "2.9.0"}, [], "have not tested"),
    ({"VERSION": "2.9.0"}, ["--force"], ""),
    ({"IMAGES": ""}, [], "cannot be pulled"),
])
def test_a_webodm_that_was_not_tried_is_refused(checkout: Path, tmp_path: Path, env: dict, flags: list, words: str) -> None:
    log = tmp_path / "calls"
    done = run_docker(checkout, tmp_path, f'echo "$*" >> {log}\n', "start", "--no-backup", *flags, **env)
    assert (done.returncode == 0) == (not words) and words in done.stderr and log.exists() == (not words), done.stderr
    assert words == "" or "webodm/webodm_webapp" in done.stderr


def test_an_old_shell_file_is_read(checkout: Path, tmp_path: Path) -> None:
    """Up to 0.1.0 the settings of the shell were kept as lines."""
    (checkout / ".webodm-extensions-shell.env").write_text("WO_SMTP_PASSWORD=a=b\n")
    run_docker(checkout, tmp_path, "true\n", "start", "--no-backup")
    assert '"a=b"' in (checkout / ".webodm-extensions-compose.yml").read_text()
    assert not (checkout / ".webodm-extensions-shell.env").exists()


def test_manage_never_falls_back_to_the_sandbox(checkout: Path, tmp_path: Path) -> None:
    """Where a WebODM in Docker is meant, and Docker does not answer or nothing runs: an error, not another database."""
    docker = tmp_path / "path" / "docker"
    docker.parent.mkdir()
    for script, words in (("echo 'permission denied while trying to connect' >&2; exit 1", "group `docker`"), ("exit 0", "is not running")):
        docker.write_text(f"#!/bin/sh\n{script}\n")
        docker.chmod(0o755)
        for env, cwd in (({"WEBODM_DIR": str(checkout)}, tmp_path), ({}, checkout), ({}, checkout.parent)):
            inherited = {name: value for name, value in os.environ.items() if name != "WEBODM_DIR"}
            done = subprocess.run([str(ROOT / "webodm.sh"), "manage", "openscan_token", "list"], capture_output=True, text=True, cwd=cwd,
                                  env={**inherited, **env, "PATH": f"{docker.parent}:{os.environ['PATH']}"}, timeout=120)
            assert done.returncode == 1 and words in done.stderr and "in the sandbox" not in done.stderr, done.stderr


@pytest.mark.parametrize("command", ["start", "stop", "restart", "down", "update", "logs", "config"])
def test_asking_for_help_does_nothing_else(checkout: Path, tmp_path: Path, command: str) -> None:
    """WebODM's own webodm.sh passes over words that it does not know: `stop --help` would stop it."""
    log = tmp_path / "calls"
    done = run_docker(checkout, tmp_path, f'echo "$*" >> {log}\n', command, "--help")
    assert done.returncode == 0 and command in done.stdout and "Usage" in done.stdout
    assert not log.exists() and not (checkout / "webodm-extensions.env").exists()


@pytest.mark.parametrize("flag", ["--detach", "--port=8123", "--wat"])
def test_a_flag_that_webodm_would_pass_over_is_refused(checkout: Path, tmp_path: Path, flag: str) -> None:
    log = tmp_path / "calls"
    done = run_docker(checkout, tmp_path, f'echo "$*" >> {log}\n', "start", flag)
    assert done.returncode == 1 and f"has no flag {flag}" in done.stderr and not log.exists()


#: What Compose's env files cut, expand or change, each version in its own way.
HARD_VALUES = {"WO_SMTP_PASSWORD": """pa$$w$ord ${HOME} #1 it's "so" \\ """.strip(), "WO_OPENSCAN_S3_SECRET_KEY": "'quoted'",
               "WO_OPENSCAN_BASIC_PASSWORD": '"', "WO_TAPIS_TENANT_ID": "a=b"}


@pytest.mark.parametrize("way", ["shell", "file"])
def test_values_arrive_letter_by_letter(checkout: Path, tmp_path: Path, way: str) -> None:
    compose = need("docker-compose")
    stand_in = f'case "$*" in *" build "*) exit 0;; esac; exec {compose} "${{@/up/config}}"\n'
    if way == "file":
        lines = [f"{name}={value}\n" for name, value in HARD_VALUES.items() if not value.startswith("'")]
        text = "".join(["# a comment\n\n", *lines, "WO_OPENSCAN_S3_SECRET_KEY=\"'quoted'\"\n"])
        (checkout / "webodm-extensions.env").write_text(text)
    done = run_docker(checkout, tmp_path, stand_in, "start", "--no-backup", **(HARD_VALUES if way == "shell" else {}))
    assert done.returncode == 0, done.stderr
    merged = yaml.safe_load(done.stdout[done.stdout.index("\nservices:"):])["services"]
    for service in ("webapp", "worker"):  # Compose writes a dollar twice, as it would read it
        got = {name: merged[service]["environment"][name].replace("$$", "$") for name in HARD_VALUES}
        assert got == HARD_VALUES


def test_a_line_that_is_no_setting_is_named_by_its_number(checkout: Path, tmp_path: Path) -> None:
    (checkout / "webodm-extensions.env").write_text("WO_SMTP_HOST=mail\nhush hush\n")
    done = run_docker(checkout, tmp_path, "true\n", "start", "--no-backup")
    assert done.returncode == 1 and "line 2: not NAME=VALUE" in done.stderr and "hush" not in done.stderr
    done = run_docker(checkout, tmp_path, 'echo "compose $*"\n', "down")
    assert done.returncode == 0 and "line 2" in done.stderr and done.stdout.strip().endswith(" down"), "it can be stopped all the same"


def test_a_clone_that_is_cut_is_not_taken_for_the_release(tmp_path: Path) -> None:
    """Here the checkout of the release fails: its commit is not there. Nothing is left that the next start would run."""
    upstream, ours = tmp_path / "upstream", tmp_path / "ours"
    subprocess.run(["git", "init", "-q", str(upstream)], check=True)
    (upstream / "webodm.sh").write_text("#!/bin/bash\n")
    (upstream / "docker-compose.yml").write_text("services: {}\n")
    for words in (["add", "."], ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "another"]):
        subprocess.run(["git", "-C", str(upstream), *words], check=True)
    shutil.copytree(ROOT / "deploy", ours / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    (ours / "app_extensions").mkdir()
    shutil.copy(ROOT / "app_extensions" / "__init__.py", ours / "app_extensions")
    env = {name: value for name, value in os.environ.items() if name != "WEBODM_DIR"}
    env.update(HOME=str(tmp_path), GIT_CONFIG_NOSYSTEM="1")
    (tmp_path / ".gitconfig").write_text(f'[url "{upstream}"]\n  insteadOf = https://github.com/WebODM/WebODM\n')
    for _ in range(2):
        done = subprocess.run([sys.executable, str(ours / "deploy"), "start"], capture_output=True, text=True, cwd=tmp_path, env=env,
                              timeout=120)
        assert done.returncode == 1 and "git checkout failed" in done.stderr, done.stderr
        assert not (ours / "WebODM").exists()


def test_manage_and_backup_in_the_containers(checkout: Path, tmp_path: Path) -> None:
    """Containers are found by their whole name; what the command ends with is what is answered; a failed dump leaves no file."""
    docker, log, file = tmp_path / "path" / "docker", tmp_path / "docker-calls", tmp_path / "rows.sql.gz"
    docker.parent.mkdir()
    docker.write_text(f"""#!/bin/bash
echo "$*" >> {log}
case "$*" in
  "ps --quiet --filter name=^/?webapp$ --filter status=running") echo 0af1 ;;
  "ps --quiet --filter name=^/?db$ --filter status=running") echo 0af2 ;;
  ps*) echo 0bad ;;
  *pg_dump*) echo "COPY public.openscan_token"; exit ${{DUMP_FAILS:-0}} ;;
  "inspect 0af1") echo '[{{"Image": "sha256:1"}}]' ;;
  "image inspect --format "*" sha256:1") echo '{{"webodm-extensions.version": "1"}}' ;;
  exec*) exit 3 ;;
esac
""")
    docker.chmod(0o755)
    env = {**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}"}

    def call(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([str(ROOT / "webodm.sh"), *arguments], capture_output=True, text=True, env={**env, **more}, cwd=tmp_path,
                              stdin=subprocess.DEVNULL, timeout=120)

    done = call("manage", "openscan_token", "create", "--label", "two words")
    assert done.returncode == 3 and "in the running WebODM container" in done.stderr
    assert log.read_text().splitlines()[-1] == ("exec -i 0af1 python /opt/webodm-extensions/deploy/docker/manage.py "
                                                "openscan_token create --label two words")
    assert call("backup", file.name, DUMP_FAILS="1").returncode == 1 and not list(tmp_path.glob("*rows*"))
    done = call("backup", file.name)
    assert done.returncode == 0 and stat.S_IMODE(file.stat().st_mode) == 0o600, done.stderr
    assert gzip.decompress(file.read_bytes()) == b"COPY public.openscan_token\n"
    assert log.read_text().splitlines()[-1].startswith("exec 0af2 pg_dump -U postgres --data-only")
    done = call("backup", "--python", "python3")
    assert done.returncode == 1 and "--webodm DIR" in done.stderr
    done = call("backup", str(tmp_path))
    assert done.returncode == 1 and "is a directory" in done.stderr


def test_a_database_that_is_being_set_up_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WebODM's database image sets up a new volume with a server on the socket only, and stops it: only TCP says that it is ready."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    programs = {"docker": 'shift 2; exec "$@"', "psql": "echo 1", "pg_isready": f"echo x >>{tmp_path}/asked; [ -e {tmp_path}/tcp ]"}
    for name, script in programs.items():
        (bin_dir / name).write_text(f"#!/bin/bash\n{script}\n")
        (bin_dir / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    monkeypatch.setattr(docker_backup.time, "sleep", lambda seconds: (tmp_path / "tcp").touch())
    docker_backup.wait_for_database("db")
    assert (tmp_path / "asked").read_text().count("x") == 2


@pytest.mark.parametrize("dev, calls", [("YES", "/opt/webodm-extensions/deploy image-plugins --webodm .\n"), ("NO", "")])
def test_plugins_are_linked_for_the_development_server(tmp_path: Path, dev: str, calls: str) -> None:
    """With --dev, WebODM does not call our gunicorn, which links the plugins otherwise: our worker does it before the server starts."""
    for name, script in {"python": f'echo "$*" >>{tmp_path}/calls', "sleep": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "calls").touch()
    subprocess.run([str(ROOT / "deploy" / "docker" / "extensions-worker")], env={
        "PATH": f"{tmp_path}:/usr/bin:/bin", "WEBODM_HOME": str(tmp_path), "WO_DEV": dev}, capture_output=True, timeout=60)
    assert (tmp_path / "calls").read_text() == calls


def test_settings_files_are_private_and_kept(checkout: Path, tmp_path: Path) -> None:
    run_docker(checkout, tmp_path, "true\n", "start", "--no-backup", WO_SMTP_PASSWORD="hush\nhush")
    files = [checkout / "webodm-extensions.env", checkout / ".webodm-extensions-shell.json", checkout / ".webodm-extensions-start.json",
             checkout / ".webodm-extensions-compose.yml"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert json.loads(files[1].read_text()) == {"WO_SMTP_PASSWORD": "hush\nhush"}
    files[0].write_text("WO_TAPIS_TENANT_ID=mine\n")
    run_docker(checkout, tmp_path, "true\n", "stop")
    assert files[0].read_text() == "WO_TAPIS_TENANT_ID=mine\n" and "hush" in files[1].read_text()


def test_no_checkout_is_said(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "deploy"), "stop"], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "WEBODM_DIR": str(tmp_path)})
    assert done.returncode == 1 and "WEBODM_DIR" in done.stderr


def test_no_secret_stands_in_what_docker_reads() -> None:
    for path in [OVERRIDE, ROOT / "deploy" / "docker" / "Dockerfile", *(ROOT / "deploy" / "docker").glob("*.yml")]:
        text = path.read_text()
        assert not re.search(r"(?i)(password|secret|token|key)\s*[:=]\s*['\"]?[A-Za-z0-9]{4,}", text), path
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*", "the build context must not hold .venv, .git or env files"


@pytest.mark.parametrize("file", ["deploy/docker/Dockerfile", "node/Dockerfile"])
def test_dockerfile_lint(file: str) -> None:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not in .venv/clients; ./webodm.sh test makes it")
    done = subprocess.run([str(HADOLINT), str(ROOT / file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_steps_of_the_dockerfile(target: Target) -> None:
    """The RUN lines, in their order, on a WebODM with its pins: the packages come in, no pin moves, the code is found."""
    before = target.packages()
    text = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    lines = text.splitlines()
    steps = re.findall(r"^RUN (.+)$", text, re.MULTILINE)
    assert len(steps) == 2
    first = next(number for number, line in enumerate(lines) if line.startswith("RUN"))
    early = [word for line in lines[:first] if line.startswith("COPY") for word in line.split()[1:-1]]
    assert early == ["deploy/requirements", "deploy/__init__.py", "deploy/packages.py", "deploy/report.py"], "packages change seldom"
    for step in steps:
        step = step.replace("/opt/webodm-extensions", str(ROOT)).replace("/webodm", str(target.directory))
        step = step.replace(f"{target.directory}-extensions", str(ROOT))
        subprocess.run(["bash", "-ec", step], check=True, cwd=target.directory,
                       env={**target.env, "PATH": f"{target.python.parent}:{os.environ['PATH']}"})
    after = target.packages()
    assert {name: after.get(name) for name in before} == before and set(OUR_PACKAGES) & set(after)
    assert after["webodm-openscan-tapis"] == VERSION and not (target.directory / "app_extensions").exists()
    _gunicorn_of_the_image(target)


def _gunicorn_of_the_image(target: Target) -> None:
    """Links the plugins and runs `check` before the real gunicorn, with the limit lifted; a failing check stops the start."""
    programs = target.directory.parent / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "gunicorn").write_text('#!/bin/sh\necho "REAL $GUNICORN_CMD_ARGS $*"\n')
    (programs / "gunicorn").chmod(0o755)
    (programs / "python").unlink(missing_ok=True)
    (programs / "python").symlink_to(target.python)
    env = {**target.env, "WEBODM_HOME": str(target.directory),
           "PATH": f"{ROOT / 'deploy' / 'docker' / 'bin'}:{target.python.parent}:{programs}:/usr/bin:/bin"}
    target.shell("from django.core.management import call_command as c\nfor app in ('openscan', 'tapis'): c('migrate', app, verbosity=0)")
    command = ["gunicorn", "webodm.wsgi", "--workers", "3"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1].split() == [
        "REAL", "--limit-request-line", "0", "webodm.wsgi", "--workers", "3", "--worker-class", "gthread", "--threads", "40",
        "--keep-alive", "0", "--max-requests", "0"], done.stderr
    assert (target.media / "plugins" / "openscan_cloud").is_symlink()
    assert target.sql("SELECT count(*) FROM app_plugin WHERE name IN ('openscan_cloud', 'tapis_storage') AND enabled") == [(2,)]
    done = subprocess.run(command, env={**env, "WO_OPENSCAN_RESULT_DAYS": "0"}, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "REAL" not in done.stdout and "openscan.E004" in done.stderr


NGINX = """\
worker_processes 1;
daemon off;
pid {tmp}/pid;
error_log {tmp}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format webodm_log '$remote_addr - [$time_local] "$request" $status';
  access_log {tmp}/access.log webodm_log;
  client_body_temp_path {tmp}/body; proxy_temp_path {tmp}/p; fastcgi_temp_path {tmp}/f; uwsgi_temp_path {tmp}/u; scgi_temp_path {tmp}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }}
}}
"""


def test_nginx_takes_long_lines_and_logs_no_secrets(tmp_path: Path) -> None:
    """A real nginx on a configuration in WebODM's manner, started by the image's `nginx`."""
    real = need("nginx")
    port = free_port()
    conf = tmp_path / "nginx.conf"
    conf.write_text(NGINX.format(tmp=tmp_path, port=port))
    server = subprocess.Popen([str(ROOT / "deploy" / "docker" / "bin" / "nginx"), "-c", str(conf)], stderr=subprocess.DEVNULL,
                              env={**os.environ, "PATH": f"{ROOT / 'deploy' / 'docker' / 'bin'}:{Path(real).parent}:{os.environ['PATH']}"})
    try:
        paths = ["/api/openscan/getTokenInfo?token=SECRET1&ulink=" + "x" * 30000, "/api/openscan/u/SECRET2",
                 "/api/openscan/download/SECRET3.zip", "/api/oauth2/tapis/callback/?code=SECRET4", "/api/projects/?jwt=SECRET5", "/plain"]
        statuses = [_status(f"http://127.0.0.1:{port}{path}") for path in paths]
    finally:
        server.terminate()
        server.wait(timeout=60)
    assert statuses == [200] * len(paths)
    log = (tmp_path / "access.log").read_text()
    assert len(log.splitlines()) == len(paths) and "SECRET" not in log and '"GET /plain HTTP/1.1" 200' in log
    assert '"GET /api/openscan/getTokenInfo?*** HTTP/1.1"' in log and '"GET /api/openscan/u/*** HTTP/1.1"' in log


def _status(url: str) -> int:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize(("change", "words"), [
    (("http {", "htttp {"), "http {"),
    (("log_format", "#log_format"), "log_format"),
    (('"$request"', "nothing"), "names no request"),
    (("webodm_log;\n", "combined;\n"), "own format"),
])
def test_nginx_without_the_places_to_change_does_not_start(tmp_path: Path, change: tuple, words: str) -> None:
    conf = tmp_path / "nginx.conf"
    before = NGINX.format(tmp=tmp_path, port=1).replace(*change)
    conf.write_text(before)
    done = subprocess.run([str(ROOT / "deploy" / "docker" / "bin" / "nginx"), "-c", str(conf)], capture_output=True, text=True,
                          env={**os.environ, "PATH": f"{ROOT / 'deploy' / 'docker' / 'bin'}:{os.environ['PATH']}"})
    assert done.returncode != 0 and words in done.stderr
    assert conf.read_text() == before, "nothing is written where it does not fit"


def test_nginx_is_patched_once(tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text(NGINX.format(tmp=tmp_path, port=1))
    texts = []
    for _ in range(2):
        subprocess.run([sys.executable, str(ROOT / "deploy" / "docker" / "patch_nginx.py"), str(conf)], check=True)
        texts.append(conf.read_text())
    assert texts[0] == texts[1] and texts[0].count("large_client_header_buffers 4 64k") == 1


def test_plugin_zips(tmp_path: Path) -> None:
    """One directory in each, what WebODM asks of a plugin, and the same bytes each time."""
    import zipfile

    for out in ("a", "b"):
        subprocess.run([sys.executable, str(ROOT / "deploy"), "package", "--out", str(tmp_path / out)], check=True,
                       stdout=subprocess.DEVNULL)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert [name.rsplit("-", 1)[0] for name in names] == ["openscan_cloud", "tapis_storage"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        with zipfile.ZipFile(tmp_path / "a" / name) as archive:
            members = archive.namelist()
        plugin = name.rsplit("-", 1)[0]
        assert {member.split("/")[0] for member in members} == {plugin}
        assert {f"{plugin}/__init__.py", f"{plugin}/plugin.py", f"{plugin}/manifest.json"} <= set(members)
        assert not any("__pycache__" in member for member in members)


def test_zips_without_and_with_app_extensions(equipped: Target, tmp_path: Path) -> None:
    """Uploaded alone they load, switch themselves off and say what to do; with `app_extensions` they work."""
    import zipfile

    subprocess.run([sys.executable, str(ROOT / "deploy"), "package", "--out", str(tmp_path)], check=True, stdout=subprocess.DEVNULL)
    for path in tmp_path.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(equipped.media / "plugins")
    printed = equipped.run("manage.py", "check")
    assert "app_extensions" in printed.stdout + printed.stderr
    rows = "SELECT name, enabled FROM app_plugin ORDER BY name"
    assert equipped.sql(rows) == [("openscan_cloud", False), ("tapis_storage", False)]
    printed = equipped.deploy("install", "--link", "--python", str(equipped.python)).stdout
    assert "enable the plugins" in printed
    assert equipped.sql(rows) == [("openscan_cloud", True), ("tapis_storage", True)]
