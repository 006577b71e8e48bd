"""`sandbox start|stop|status|manage` as a user calls them, on a separate sandbox."""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests

from dev.sandbox.processes import free_port
from dev.sandbox.stack import remove_data
from tests.plugin import QUICK_ENGINE, ROOT
from tests.support.waiting import until


class Sandbox:
    """The command line against one data directory."""

    def __init__(self, data: Path, port: int) -> None:
        self.data = data
        self.port = port

    def __call__(self, command: str, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run([sys.executable, "-m", "dev.sandbox", command, "--data", str(self.data), *arguments], cwd=ROOT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200)
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
        return done

    def start(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self("start", "--detach", "--engine", QUICK_ENGINE, *arguments)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def config(self) -> dict:
        return json.loads((self.data / "config.json").read_text())

    def supervisor(self) -> int:
        return int((self.data / "run" / "supervisor.pid").read_text())

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to this sandbox: its data directory stands in the command line or the environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.data) in " ".join(process.cmdline()) or process.environ().get("SANDBOX_DATA") == str(self.data):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def session(self) -> requests.Session:
        """Logged in as the administrator, by the JWT that WebODM hands out."""
        config = self.config()
        answer = requests.post(self.url + "/api/token-auth/", timeout=60,
                               data={"username": config["admin_user"], "password": config["admin_password"]})
        answer.raise_for_status()
        session = requests.Session()
        session.headers["Authorization"] = f"JWT {answer.json()['token']}"
        return session


@contextmanager
def data_directory() -> Iterator[Path]:
    """Not pytest's own: it keeps those for one user, and PostgreSQL runs as another when the tests run as root."""
    data = Path(tempfile.mkdtemp(prefix="webodm-sandbox-"))
    data.chmod(0o755)
    yield data
    remove_data(data)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with data_directory() as data:
        made = Sandbox(data, free_port())
        made.start("--port", str(made.port))
        yield made
        made("stop", check=False)


def test_start_waits_until_everything_answers_and_says_where(sandbox):
    said = sandbox.start().stdout
    assert sandbox.url in said
    assert sandbox.config()["admin_password"] in said
    status = sandbox("status")
    assert "web: answers" in status.stdout
    assert "node: answers" in status.stdout


def test_everything_listens_on_the_loopback_only(sandbox):
    listening = set()
    for process in sandbox.processes():
        for connection in process.connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                listening.add(connection.laddr.ip)
    assert listening == {"127.0.0.1"}


def test_the_secrets_are_for_this_user_only(sandbox):
    assert (sandbox.data / "config.json").stat().st_mode & 0o077 == 0
    assert (sandbox.data / "redis" / "redis.conf").stat().st_mode & 0o077 == 0
    config = sandbox.config()
    for log in (sandbox.data / "log").iterdir():
        text = log.read_text(errors="replace")
        assert not [name for name in ("redis_password", "secret_key", "admin_password") if config[name] in text], log
    for process in sandbox.processes():
        line = " ".join(process.cmdline())
        assert config["redis_password"] not in line
        assert config["secret_key"] not in line


def test_redis_asks_for_its_password(sandbox):
    with socket.create_connection(("127.0.0.1", sandbox.config()["redis_port"]), timeout=60) as connection:
        connection.sendall(b"PING\r\n")
        assert b"NOAUTH" in connection.recv(100)


def test_the_worker_comes_back_when_it_is_killed(sandbox):
    def workers() -> set[int]:
        found = set()
        for process in sandbox.processes():
            with suppress(psutil.Error):  # a killed one, between the two looks
                if "worker@sandbox" in process.cmdline():
                    found.add(process.pid)
        return found

    before = workers()
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: workers() and not workers() & before, says="a new worker")


def test_data_survive_a_stop_and_nothing_is_left_running(sandbox):
    answer = sandbox.session().post(sandbox.url + "/api/projects/", json={"name": "kept"}, timeout=60)
    assert answer.status_code == 201, answer.text
    sandbox("stop")
    try:
        assert sandbox("status", check=False).returncode == 3
        until(lambda: not sandbox.processes(), 5, says=lambda: f"not {[process.cmdline() for process in sandbox.processes()]}")
        assert "no issues" in sandbox("manage", "check").stdout, "management commands run while it is stopped"
        until(lambda: not sandbox.processes(), 5, says="the end of the database for them")
    finally:
        sandbox.start()
    names = [project["name"] for project in sandbox.session().get(sandbox.url + "/api/projects/", timeout=60).json()]
    assert "kept" in names


def test_a_killed_supervisor_leaves_no_servers_and_the_next_start_works(sandbox):
    os.kill(sandbox.supervisor(), signal.SIGKILL)

    def web_is_gone() -> bool:
        try:
            requests.get(sandbox.url + "/login/", timeout=1)
        except requests.RequestException:
            return True
        return False

    until(web_is_gone)
    sandbox.start()
    assert requests.get(sandbox.url + "/login/", timeout=60).status_code == 200


def test_management_commands_run_beside_it(sandbox):
    assert "no issues" in sandbox("manage", "check").stdout


def test_a_taken_port_is_said():
    with socket.socket() as taken, data_directory() as data:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = Sandbox(data, port)("start", "--port", str(port), check=False)
        assert done.returncode == 1
        assert f"port {port} on 127.0.0.1 is taken" in done.stdout
        assert "--port" in done.stdout
        assert not (data / "postgres" / "postmaster.pid").exists(), "PostgreSQL was left running"


@pytest.mark.long
def test_tapis_joins_a_running_sandbox_with_a_client_and_users(sandbox):
    from tests.support.tapis import Browser

    assert "restarting it with the stand-in Tapis" in sandbox.start("--tapis", "--port", str(sandbox.port)).stdout
    with Browser(sandbox.url) as browser:
        index = requests.get(f"{sandbox.url}/api/oauth2/tapis/", timeout=120).json()
        assert index["count"] == 1
        assert browser.log_in("alice", index["clients"][0]["client_id"]).status_code == 302
        systems = browser.get(f"{sandbox.url}/api/tapis-storage/systems/").json()["systems"]
    assert "ptdatax.project.PTDATAX-284" in [system["id"] for system in systems]
