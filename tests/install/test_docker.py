"""The Docker side, as far as it can be proved without an engine: compose files, Dockerfile, its steps, and what the image runs."""
import gzip
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
    (directory / ".env").write_text("WO_PORT=8000\nWO_SETTINGS=\n")
    (directory / "webodm.sh").write_text(WEBODM_SH)
    (directory / "webodm.sh").chmod(0o755)
    return directory


def run_docker(checkout: Path, tmp_path: Path, compose: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """`python deploy …` on the checkout; `compose` is a shell script in the place of the real Compose."""
    program, docker = tmp_path / "compose", tmp_path / "path" / "docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text("#!/bin/sh\nexit 0\n")
    program.write_text("#!/bin/bash\n" + compose)
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
    done = run_docker(checkout, tmp_path, stand_in, "start", "--detached", "--port", "8123", "--settings", str(site),
                      "--worker-memory", "2g", WO_OPENSCAN_PUBLIC_URL="https://scan.example.org", WO_UNRELATED="x")
    assert done.returncode == 0, done.stderr
    merged = yaml.safe_load(done.stdout[done.stdout.index("\nservices:") if "\nservices:" in done.stdout else 0:])["services"]
    for name in ("webapp", "worker"):
        service = merged[name]
        assert service["image"] == "webodm-extensions:local" and service["build"]["context"] == str(ROOT)
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
    (["logs", "--tail", "5"], ["-f docker-compose.yml -f OURS -f SETTINGS logs --tail 5"]),
    (["update"], ["-f docker-compose.yml pull", "-f docker-compose.yml -f OURS -f SETTINGS build --pull"]),
    (["start", "--detached"], ["-f docker-compose.yml -f OURS -f SETTINGS build", "-f docker-compose.yml -f OURS -f SETTINGS up -d"]),
])
def test_what_compose_is_called_with(checkout: Path, tmp_path: Path, arguments: list, calls: list) -> None:
    log = tmp_path / "calls"
    done = run_docker(checkout, tmp_path, f'echo "$*" >> {log}\n', *arguments)
    assert done.returncode == 0, done.stderr
    called = log.read_text().replace(str(OVERRIDE), "OURS").replace(str(checkout / ".webodm-extensions-compose.yml"), "SETTINGS")
    assert called.splitlines() == calls


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
    stand_in = f'case "$*" in *build) exit 0;; esac; exec {compose} "${{@/up/config}}"\n'
    if way == "file":
        lines = [f"{name}={value}\n" for name, value in HARD_VALUES.items() if not value.startswith("'")]
        text = "".join(["# a comment\n\n", *lines, "WO_OPENSCAN_S3_SECRET_KEY=\"'quoted'\"\n"])
        (checkout / "webodm-extensions.env").write_text(text)
    done = run_docker(checkout, tmp_path, stand_in, "start", **(HARD_VALUES if way == "shell" else {}))
    assert done.returncode == 0, done.stderr
    merged = yaml.safe_load(done.stdout[done.stdout.index("\nservices:"):])["services"]
    for service in ("webapp", "worker"):  # Compose writes a dollar twice, as it would read it
        got = {name: merged[service]["environment"][name].replace("$$", "$") for name in HARD_VALUES}
        assert got == HARD_VALUES


def test_a_line_that_is_no_setting_is_named_by_its_number(checkout: Path, tmp_path: Path) -> None:
    (checkout / "webodm-extensions.env").write_text("WO_SMTP_HOST=mail\nhush hush\n")
    done = run_docker(checkout, tmp_path, "true\n", "start")
    assert done.returncode == 1 and "line 2: not NAME=VALUE" in done.stderr and "hush" not in done.stderr
    done = run_docker(checkout, tmp_path, 'echo "compose $*"\n', "down")
    assert done.returncode == 0 and "line 2" in done.stderr and done.stdout.strip().endswith(" down"), "it can be stopped all the same"


def test_a_clone_that_is_cut_is_not_taken_for_the_release(tmp_path: Path) -> None:
    """Here the checkout of the release fails: its commit is not there. Nothing is left that the next start would run."""
    upstream, ours = tmp_path / "upstream", tmp_path / "ours"
    subprocess.run(["git", "init", "-q", str(upstream)], check=True)
    (upstream / "webodm.sh").write_text("#!/bin/bash\n")
    for words in (["add", "."], ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "another"]):
        subprocess.run(["git", "-C", str(upstream), *words], check=True)
    shutil.copytree(ROOT / "deploy", ours / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
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
    assert log.read_text().splitlines()[-1] == "exec -i 0af1 python manage.py openscan_token create --label two words"
    assert call("backup", file.name, DUMP_FAILS="1").returncode == 1 and not list(tmp_path.glob("*rows*"))
    done = call("backup", file.name)
    assert done.returncode == 0 and stat.S_IMODE(file.stat().st_mode) == 0o600, done.stderr
    assert gzip.decompress(file.read_bytes()) == b"COPY public.openscan_token\n"
    assert log.read_text().splitlines()[-1].startswith("exec 0af2 pg_dump -U postgres --data-only")
    done = call("backup", "--python", "python3")
    assert done.returncode == 1 and "--webodm DIR" in done.stderr
    done = call("backup", str(tmp_path))
    assert done.returncode == 1 and "is a directory" in done.stderr


def test_settings_files_are_private_and_kept(checkout: Path, tmp_path: Path) -> None:
    run_docker(checkout, tmp_path, "true\n", "start", WO_SMTP_PASSWORD="hush")
    files = [checkout / "webodm-extensions.env", checkout / ".webodm-extensions-shell.env"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    assert files[1].read_text() == "WO_SMTP_PASSWORD=hush\n"
    files[0].write_text("WO_TAPIS_TENANT_ID=mine\n")
    run_docker(checkout, tmp_path, "true\n", "stop")
    assert files[0].read_text() == "WO_TAPIS_TENANT_ID=mine\n" and "hush" in files[1].read_text()
    done = run_docker(checkout, tmp_path, "true\n", "start", WO_SMTP_PASSWORD="two\nlines")
    assert done.returncode == 1 and "WO_SMTP_PASSWORD" in done.stderr and "lines" not in done.stderr.replace("more than one line", "")


def test_no_checkout_is_said(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "deploy"), "stop"], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "WEBODM_DIR": str(tmp_path)})
    assert done.returncode == 1 and "WEBODM_DIR" in done.stderr


def test_no_secret_stands_in_what_docker_reads() -> None:
    for path in [OVERRIDE, ROOT / "deploy" / "docker" / "Dockerfile", *(ROOT / "deploy" / "docker").glob("*.yml")]:
        text = path.read_text()
        assert not re.search(r"(?i)(password|secret|token|key)\s*[:=]\s*['\"]?[A-Za-z0-9]{4,}", text), path
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*", "the build context must not hold .venv, .git or env files"


def test_dockerfile_lint() -> None:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not in .venv/clients; ./webodm.sh test makes it")
    done = subprocess.run([str(HADOLINT), str(ROOT / "deploy" / "docker" / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_steps_of_the_dockerfile(target: Target) -> None:
    """The RUN lines, in their order, on a WebODM with its pins: the packages come in, no pin moves, the code is found."""
    before = target.packages()
    text = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    copied = {line.split()[-2].rstrip("/").split("/")[0] for line in text.splitlines() if line.startswith("COPY")}
    assert {"app_extensions", "plugins", "deploy"} <= copied
    steps = re.findall(r"^RUN (.+)$", text, re.MULTILINE)
    assert len(steps) == 2
    try:
        for step in steps:
            words = step.replace("/opt/webodm-extensions", str(ROOT)).replace("/webodm", str(target.directory)).split()
            words = [word.replace(f"{target.directory}-extensions", str(ROOT)) for word in words]
            assert words[0] == "python"
            target.run(*words[1:])
        after = target.packages()
        assert {name: after.get(name) for name in before} == before and set(OUR_PACKAGES) & set(after)
        assert (target.directory / "app_extensions").is_symlink()
        (target.directory / "webodm" / "settings_override_site.py").unlink(missing_ok=True)
        _gunicorn_of_the_image(target)
    finally:
        target.run("-m", "pip", "uninstall", "-q", "-y", *sorted(set(target.packages()) - set(before)))
        target.deploy("uninstall")


def _gunicorn_of_the_image(target: Target) -> None:
    """Links the plugins and runs `check` before the real gunicorn, with the limit lifted; a failing check stops the start."""
    programs = target.directory.parent / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "gunicorn").write_text('#!/bin/sh\necho "REAL $GUNICORN_CMD_ARGS $*"\n')
    (programs / "gunicorn").chmod(0o755)
    (programs / "python").unlink(missing_ok=True)
    (programs / "python").symlink_to(target.python)
    env = {**target.env, "WEBODM_HOME": str(target.directory),
           "PATH": f"{ROOT / 'docker' / 'bin'}:{target.python.parent}:{programs}:/usr/bin:/bin"}
    target.shell("from django.core.management import call_command as c\nfor app in ('openscan', 'tapis'): c('migrate', app, verbosity=0)")
    command = ["gunicorn", "webodm.wsgi", "--workers", "3"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1].split() == [
        "REAL", "--limit-request-line", "0", "webodm.wsgi", "--workers", "3", "--worker-class", "gthread", "--threads", "40",
        "--keep-alive", "0", "--max-requests", "0"], done.stderr
    assert (target.media / "plugins" / "openscan_cloud").is_symlink()
    assert target.shell("from app.models import Plugin\nprint(Plugin.objects.filter(name__in=['openscan_cloud', 'tapis_storage'],"
                        " enabled=True).count())") == "2"
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
                              env={**os.environ, "PATH": f"{ROOT / 'docker' / 'bin'}:{Path(real).parent}:{os.environ['PATH']}"})
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
                          env={**os.environ, "PATH": f"{ROOT / 'docker' / 'bin'}:{os.environ['PATH']}"})
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


def test_zips_without_and_with_app_extensions(target: Target, tmp_path: Path) -> None:
    """Uploaded alone they load, switch themselves off and say what to do; with `app_extensions` they work."""
    import zipfile

    target.forget_our_tables()
    subprocess.run([sys.executable, str(ROOT / "deploy"), "package", "--out", str(tmp_path)], check=True, stdout=subprocess.DEVNULL)
    for path in tmp_path.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(target.media / "plugins")
    try:
        printed = target.run("manage.py", "check")
        assert "app_extensions" in printed.stdout + printed.stderr
        rows = "from app.models import Plugin\nprint(sorted(Plugin.objects.values_list('name', 'enabled')))"
        assert target.shell(rows) == "[('openscan_cloud', False), ('tapis_storage', False)]"
        printed = target.deploy("install", "--python", str(target.python)).stdout
        assert "switch the plugins on" in printed
        assert target.shell(rows) == "[('openscan_cloud', True), ('tapis_storage', True)]"
    finally:
        target.deploy("uninstall")
        for name in ("openscan_cloud", "tapis_storage"):
            shutil.rmtree(target.media / "plugins" / name, ignore_errors=True)
