"""The WebODM that the contract is held against: a separate sandbox without our plugins, or a real one.

A real WebODM is given by `--webodm-url URL --webodm-dir DIR` and these environment variables:

WEBODM_ADMIN_USER, WEBODM_ADMIN_PASSWORD  an administrator's login
WEBODM_MANAGE     how to run its manage.py, if not `$WEBODM_DIR_PYTHON manage.py` in DIR; e.g. a `bash -c '… "$@"' --`
WEBODM_RESTART    a command that restarts its web server, worker and beat; without it, tests that need the probes skip

Tests look at behaviour only: over HTTP, or by Python sent to `manage.py shell` of that WebODM. What they put there (plugins, a
settings file, users, projects, a node) they take away again.
"""
import concurrent.futures
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
import requests

from dev.sandbox.processes import Service, answers_http, free_port
from dev.sandbox.stack import ENGINE_PYTHON, Stack, remove_data
from tests.plugin import CALLERS_ENVIRONMENT, QUICK_ENGINE, ROOT

PROBES = Path(__file__).parent / "probes"
PLUGINS = ("contract_probe", "contract_flaky", "contract_register", "contract_disabled")
APP = "contract_probe_app"
SETTINGS = """
# --- contract probes: put here by tests/contract, taken away at its end
import sys as _sys
from webodm.settings import CELERY_INCLUDE, INSTALLED_APPS, MEDIA_ROOT
_sys.path.append(MEDIA_ROOT)
INSTALLED_APPS = INSTALLED_APPS + ["contract_probe_app.apps.ProbeConfig"]
CELERY_INCLUDE = CELERY_INCLUDE + ["contract_probe_app.tasks"]
CONTRACT_PROBE = "read from the override"
"""
MARK = "contract-answer:"
#: Runs in `manage.py shell -c`: executes one snippet a line of standard input, and answers with its `result`.
LOOP = f"""
import contextlib, json, sys, traceback
answers = sys.stdout
for line in sys.stdin:
    question = json.loads(line)
    scope = dict(question["values"])
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(question["code"], scope)
        answer = {{"result": scope.get("result")}}
    except BaseException:
        answer = {{"error": traceback.format_exc()}}
    answers.write({MARK!r} + json.dumps(answer, default=str) + chr(10))
    answers.flush()
"""


class Remote:
    """A `manage.py shell` that stays open."""

    def __init__(self, command: list[str], environment: dict[str, str], directory: Path, log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen([*command, "shell", "-c", LOOP], env=environment, cwd=directory, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log)
        self._lock = threading.Lock()

    def __call__(self, code: str, **values: Any) -> Any:
        """Runs `code` there with `values` as its names; returns what it assigned to `result`, through JSON."""
        with self._lock:
            self._process.stdin.write(json.dumps({"code": code, "values": values}) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                if line.startswith(MARK):
                    answer = json.loads(line[len(MARK):])
                    if "error" in answer:
                        raise AssertionError(f"in the WebODM's shell:\n{answer['error']}")
                    return answer["result"]
        raise AssertionError(f"the WebODM's shell ended: {Path(self._log.name).read_text(errors='replace')[-3000:]}")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._log.close()


class Host:
    """A WebODM under test. `is_sandbox` is for what one of the two has not (nginx, say), never for what they do differently."""

    is_sandbox = False

    def __init__(self, url: str, admin: tuple[str, str], manage: list[str], environment: dict[str, str],
                 directory: Path, log: Path) -> None:
        self.url = url.rstrip("/")
        self.admin = admin
        self.manage = manage
        self.environment = environment
        self.directory = directory
        self.log = log
        self._shell: Optional[Remote] = None

    def shell(self, code: str, **values: Any) -> Any:
        """Runs Python inside the WebODM; see `Remote`."""
        if self._shell is None:
            self._shell = Remote(self.manage, self.environment, self.directory, self.log)
        return self._shell(code, **values)

    def fresh_python(self, code: str, **values: Any) -> "subprocess.CompletedProcess[str]":
        """Runs Python in a new interpreter of the WebODM, before any settings are read. `values` are its names."""
        done = self.shell(
            "import json, subprocess, sys\n"
            "head = 'import json; globals().update(json.loads(' + repr(json.dumps(names)) + '))\\n'\n"
            "done = subprocess.run([sys.executable, '-c', head + snippet], stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
            "result = [done.returncode, done.stdout.decode(), done.stderr.decode()]",
            snippet=code, names=values)
        return subprocess.CompletedProcess(args=[code], returncode=done[0], stdout=done[1], stderr=done[2])

    def close_shell(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def session(self, user: Optional[tuple[str, str]] = None) -> requests.Session:
        """A browser that is logged in, and sends `X-CSRFToken` as WebODM's pages do."""
        session = requests.Session()
        page = session.get(f"{self.url}/login/")
        name, password = user or self.admin
        answer = session.post(f"{self.url}/login/", allow_redirects=False, headers={"Referer": page.url}, data={
            "username": name, "password": password, "csrfmiddlewaretoken": session.cookies["csrftoken"], "next": "/dashboard/"})
        assert answer.status_code == 302, f"login as {name} failed: {answer.status_code}"
        session.headers["X-CSRFToken"] = session.cookies["csrftoken"]
        session.headers["Referer"] = self.url + "/"
        return session

    def notes(self, name: str) -> list[dict[str, Any]]:
        """What the probes noted under a name."""
        return self.shell(
            "import json, os\nfrom django.conf import settings\n"
            "path = os.path.join(settings.MEDIA_ROOT, 'contract_log', name)\n"
            "result = [json.loads(line) for line in open(path)] if os.path.exists(path) else []", name=name)

    def put_probes(self) -> None:
        """Copies the probe plugins and the probe application to the media directory."""
        media = Path(self.media_root())
        (media / "plugins").mkdir(parents=True, exist_ok=True)
        for name in PLUGINS:
            shutil.copytree(PROBES / name, media / "plugins" / name)
        shutil.copytree(PROBES / APP, media / APP)

    def remove_probes(self) -> None:
        media = Path(self.media_root())
        for path in [media / "plugins" / name for name in PLUGINS] + [media / APP, media / "contract_log"]:
            shutil.rmtree(path, ignore_errors=True)

    def web_workers(self) -> set[int]:
        """Has each process of gunicorn answer at least once; returns their process ids.

        A process reads its URLs at its first request, from the plugins that are enabled then. The first request comes alone, since
        WebODM sets its flag for registered plugins without a lock.
        """
        def ask(_: int) -> int:
            return requests.get(f"{self.url}/contract-probe/open").json()["pid"]

        answering = {ask(0)}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in range(100):
                answering |= set(pool.map(ask, range(24)))
                if len(answering) > 2:
                    break
        return answering

    def media_root(self) -> str:
        raise NotImplementedError


class SandboxHost(Host):
    """A sandbox for the contract alone."""

    is_sandbox = True

    def __init__(self) -> None:
        data = Path(tempfile.mkdtemp(prefix="webodm-contract-"))
        data.chmod(0o755)
        self.stack = Stack(data, node_engine=QUICK_ENGINE)
        (data / "site").mkdir()
        (data / "site" / "settings_override.py").write_text(SETTINGS)
        super().__init__(self.stack.address(), (self.stack.config["admin_user"], self.stack.config["admin_password"]),
                         [sys.executable, "manage.py"], self.stack.environment(), ROOT / "dev" / "sandbox" / "host", data / "shell.log")

    def media_root(self) -> str:
        return str(self.stack.data / "media")

    def start(self) -> None:
        self.stack.prepare_files()
        for link in (self.stack.data / "media" / "plugins").iterdir():
            link.unlink()
        self.put_probes()
        self.stack.start_database()
        self.environment = self.stack.environment()
        self.stack.start(["redis"])
        self.stack.manage("migrate", "--noinput", "-v", "0", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stack.manage("check", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.shell("from django.contrib.auth.models import User\nUser.objects.create_superuser(name, '', password)",
                   name=self.admin[0], password=self.admin[1])
        self.stack.start(["web", "worker", "beat"])
        self.web_workers()

    def stop(self) -> None:
        self.close_shell()
        self.stack.stop()
        remove_data(self.stack.data)


class RealHost(Host):
    """A WebODM that somebody runs."""

    def __init__(self, url: str, directory: Path) -> None:
        python = CALLERS_ENVIRONMENT.get("WEBODM_DIR_PYTHON", "python3")
        manage = shlex.split(CALLERS_ENVIRONMENT.get("WEBODM_MANAGE", "")) or [python, "manage.py"]
        self._tmp = Path(tempfile.mkdtemp(prefix="webodm-contract-"))
        self._settings: Optional[tuple[Path, Optional[str]]] = None
        admin = (CALLERS_ENVIRONMENT.get("WEBODM_ADMIN_USER", "admin"), CALLERS_ENVIRONMENT.get("WEBODM_ADMIN_PASSWORD", ""))
        super().__init__(url, admin, manage, dict(CALLERS_ENVIRONMENT), directory, self._tmp / "shell.log")
        self.restart_command = shlex.split(CALLERS_ENVIRONMENT.get("WEBODM_RESTART", ""))
        self._media = self.shell("from django.conf import settings\nresult = settings.MEDIA_ROOT")

    def media_root(self) -> str:
        return self._media

    def start(self) -> None:
        if not self.restart_command:
            return
        self.put_probes()
        override = self.directory / "webodm" / "settings_override.py"
        if override.exists() and "app_extensions" in override.read_text():
            override = override.with_name("settings_override_site.py")
        before = override.read_text() if override.exists() else None
        self._settings = (override, before)
        override.write_text((before or "") + SETTINGS)
        self.close_shell()
        self._restart()
        self.web_workers()

    def _restart(self) -> None:
        subprocess.run(self.restart_command, env=self.environment, check=True, timeout=300, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._settings:
            override, before = self._settings
            if before is None:
                override.unlink()
            else:
                override.write_text(before)
            self.remove_probes()
            self.close_shell()
            self._restart()
            self.remove_probes()  # what they noted until the restart
        self.close_shell()
        shutil.rmtree(self._tmp)


@pytest.fixture(scope="package")  # its worker and beat would keep the processor busy for the rest of a run
def host(pytestconfig: pytest.Config) -> Iterator[Host]:
    """The WebODM under test, running with the probes in place."""
    url, directory = pytestconfig.getoption("--webodm-url"), pytestconfig.getoption("--webodm-dir")
    if bool(url) != bool(directory):
        pytest.exit("--webodm-url and --webodm-dir belong together")
    host = RealHost(url, Path(directory).resolve()) if url else SandboxHost()
    try:
        host.start()
        yield host
    finally:
        host.stop()


@pytest.fixture
def probe(host: Host) -> Host:
    """The WebODM, if it has the probes."""
    if isinstance(host, RealHost) and not host.restart_command:
        pytest.skip("WEBODM_RESTART does not say how to restart this WebODM, so it has no probes")
    return host


@pytest.fixture(scope="package")
def make_user(host: Host) -> Iterator[Callable[..., tuple[str, str]]]:
    """Makes users; returns name and password. They and what they own are deleted at the end."""
    made: list[str] = []

    def make(**fields: Any) -> tuple[str, str]:
        name, password = f"contract_{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
        host.shell(
            "from django.contrib.auth.models import Group, User\n"
            "user = User.objects.create_user(name, password=password, **fields)\n"
            "user.groups.add(Group.objects.get(name='Default'))", name=name, password=password, fields=fields)
        made.append(name)
        return name, password

    yield make
    host.shell(
        "from app.models import Project, Task\nfrom django.contrib.auth.models import User\n"
        "for task in Task.objects.filter(project__owner__username__in=names):\n    task.delete()\n"
        "for project in Project.objects.filter(owner__username__in=names):\n    project.delete()\n"
        "User.objects.filter(username__in=names).delete()", names=made)


@pytest.fixture
def user(make_user) -> tuple[str, str]:
    """A plain user: name and password."""
    return make_user()


@pytest.fixture(scope="package")
def node(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A processing node of the tests' own, which nobody may use but by `view_processingnode`; its id in that WebODM."""
    port, directory = free_port(), tmp_path_factory.mktemp("node")
    environment = {key: value for key, value in CALLERS_ENVIRONMENT.items() if not key.startswith("WO_")}
    service = Service(
        name="node", log=directory / "log", cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        argv=[str(ENGINE_PYTHON), "-m", "node.server", "--host", "127.0.0.1", "--port", str(port), "--data",
              str(directory / "data"), "--engine", QUICK_ENGINE],
        ready=lambda: answers_http(f"http://127.0.0.1:{port}/info"))
    service.start()
    service.wait_ready()
    number = host.shell(
        "from nodeodm.models import ProcessingNode\n"
        "node = ProcessingNode.objects.create(hostname='127.0.0.1', port=port, label='contract node')\n"
        "result = node.id if node.is_online() else None", port=port)
    assert number is not None, "the WebODM cannot reach a node on 127.0.0.1"
    yield number
    host.shell("from nodeodm.models import ProcessingNode\nProcessingNode.objects.filter(pk=number).delete()", number=number)
    service.stop()


class TaskMaker:
    """Makes tasks inside the WebODM and looks at them."""

    def __init__(self, host: Host, owner: str) -> None:
        self.host = host
        self.owner = owner

    def make(self, images: int = 0, permit_node: Optional[int] = None, **fields: Any) -> str:
        """Creates a project and, in it, a task of the owner with this many photos. Returns the task's id."""
        photos = sorted(str(path) for path in (ROOT / "tests" / "data" / "photos" / "banana").glob("*.JPG"))[:images]
        return self.host.shell(
            "import os, shutil\nfrom app.models import Project, Task\nfrom django.contrib.auth.models import User\n"
            "from guardian.shortcuts import assign_perm\nfrom nodeodm.models import ProcessingNode\n"
            "owner = User.objects.get(username=owner)\n"
            "if node is not None:\n    assign_perm('view_processingnode', owner, ProcessingNode.objects.get(pk=node))\n"
            "task = Task.objects.create(project=Project.objects.create(owner=owner, name='contract'), name='contract', **fields)\n"
            "os.makedirs(task.task_path(), exist_ok=True)\n"
            "for photo in photos:\n    shutil.copy(photo, task.task_path())\n"
            "task.images_count = len(task.scan_images())\ntask.update_size()\ntask.save()\n"
            "result = str(task.id)", owner=self.owner, node=permit_node, fields=fields, photos=photos)

    def run(self, task: str, code: str, **values: Any) -> Any:
        """Runs code with `task` being the row, read anew."""
        return self.host.shell("from app.models import Task\ntask = Task.objects.get(pk=task_id)\n" + code,
                               task_id=task, **values)

    def exists(self, task: str) -> bool:
        return self.host.shell("from app.models import Task\nresult = Task.objects.filter(pk=pk).exists()", pk=task)

    def values(self, task: str, *names: str) -> list[Any]:
        """Columns of the row."""
        return self.host.shell("from app.models import Task\nresult = Task.objects.values_list(*names).get(pk=pk)",
                               pk=task, names=names)


@pytest.fixture
def tasks(host: Host, user: tuple[str, str]) -> TaskMaker:
    """Makes tasks of a user of this test's own."""
    return TaskMaker(host, user[0])
