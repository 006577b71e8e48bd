"""One WebODM-shaped checkout on the test's Docker engine, used by `./webodm.sh` as an administrator uses it."""
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any, Callable, Optional

from deploy import containers
from dev.sandbox.stack import ROOT
from tests.docker.engine import Engine
from tests.docker.images import STANDIN

PORT = 8000
BASIC = {"Authorization": "Basic b3BlbnNjYW46ZnJlZQ=="}
PHOTOS = ROOT / "tests" / "data" / "photos" / "banana"


class Trial:
    """A checkout in `directory`, with the Compose that `path` finds."""

    BASIC = BASIC

    def __init__(self, engine: Engine, directory: Path, path: str) -> None:
        self.engine = engine
        self.directory = directory
        self.path = path
        shutil.copytree(str(STANDIN / "checkout"), str(directory))
        self.git("init", "-q")
        self.commit("WebODM")

    # -- the administrator's side --------------------------------------------------------------------------------

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=WebODM", "-c", "user.email=webodm@example.org", "-c", f"safe.directory={self.directory}"]
        return subprocess.run(["git", *identity, *arguments], cwd=self.directory, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, subject: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def publish(self, origin: Path, subject: str) -> str:
        """Put a new commit into the repository that the checkout pulls from; returns it."""
        clone = origin.parent / "upstream"
        identity = ["-c", "user.name=WebODM", "-c", "user.email=webodm@example.org"]
        subprocess.run(["git", "clone", "-q", str(origin), str(clone)], check=True)
        (clone / "NEWS").write_text(subject)
        for words in (["add", "-A"], ["commit", "-q", "-m", subject], ["push", "-q", "origin", "HEAD"]):
            subprocess.run(["git", *identity, *words], cwd=str(clone), check=True)
        return subprocess.run(["git", "rev-parse", "HEAD"], cwd=str(clone), check=True, capture_output=True, text=True).stdout.strip()

    def webodm(self, *arguments: str, check: bool = True, cwd: Optional[Path] = None, timeout: int = 2400, **env: str
               ) -> "subprocess.CompletedProcess[str]":
        """Run `./webodm.sh` on the checkout. Raises AssertionError where it fails, unless `check` is False."""
        environment = self.engine.environment({"WEBODM_DIR": str(self.directory), "PATH": self.path, **env})
        done = subprocess.run([str(ROOT / "webodm.sh"), *arguments], env=environment, cwd=str(cwd or self.directory.parent),
                              capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}\n{self.container_logs()}"
            raise AssertionError(f"webodm.sh {' '.join(arguments)} ended with {done.returncode}:\n{said}")
        return done

    def own_script(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """WebODM's own webodm.sh, as somebody calls it who knows nothing of us."""
        environment = self.engine.environment({"PATH": self.path})
        done = subprocess.run(["./webodm.sh", *arguments], env=environment, cwd=str(self.directory), capture_output=True, text=True,
                              timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def manage(self, *arguments: str) -> str:
        """A management command's answer on stdout."""
        return self.webodm("manage", *arguments).stdout

    # -- what is seen of it --------------------------------------------------------------------------------------

    def container_logs(self) -> str:
        return "\n".join(f"--- {name}\n" + self.engine.docker("logs", "--tail", "40", name, check=False).stdout[-2500:]
                         + self.engine.docker("logs", "--tail", "40", name, check=False).stderr[-2500:]
                         for name in self.engine.docker("ps", "-a", "--format", "{{.Names}}").stdout.split())

    def task_output(self) -> str:
        """What the engine said of its tasks, where our node runs."""
        tail = "find /data -name task_output.txt -exec tail -n 60 {} +"
        return self.engine.docker("exec", "scan-node", "sh", "-c", tail, check=False).stdout

    def inspect(self, name: str) -> dict[str, Any]:
        return json.loads(self.engine.docker("inspect", name).stdout)[0]

    def variables(self, container: str) -> dict[str, str]:
        """The environment that a container was made with."""
        return containers.variables(self.inspect(container))

    def inside(self, container: str, *command: str) -> str:
        return self.engine.docker("exec", container, *command).stdout

    def sql(self, statement: str) -> str:
        return self.inside("db", "psql", "-U", "postgres", "-Atc", statement, "webodm_dev").strip()

    def get(self, path: str, scheme: str = "http", method: str = "GET", data: Optional[bytes] = None,
            headers: Optional[dict[str, str]] = None, port: int = PORT) -> "tuple[int, bytes]":
        """Ask the published port; returns status and body. Raises OSError where nothing answers."""
        return self.engine.call(_ask, f"{scheme}://127.0.0.1:{port}{path}", method, data, headers or {})

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = 900) -> Any:
        """Poll until `condition` gives something true. Raises AssertionError with the containers' logs after `seconds`."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                last = condition()
                if last:
                    return last
            except OSError as error:
                last = error
            time.sleep(0.5)
        raise AssertionError(f"waited {seconds:.0f} s for {what}; last: {last!r}\n{self.container_logs()}")

    def wait_ready(self, scheme: str = "http", port: int = PORT) -> None:
        self.wait("the rig API", lambda: b"online" in self.get("/api/openscan/status", scheme, headers=BASIC, port=port)[1])

    def wait_healthy(self, container: str) -> None:
        self.wait(f"{container} to be healthy", lambda: self.inspect(container)["State"]["Health"]["Status"] == "healthy")

    # -- a rig's side --------------------------------------------------------------------------------------------

    def token(self) -> str:
        """A private token, made by the command of the README."""
        printed = self.manage("openscan_token", "create", "--kind", "private", "--mail", "ada@example.org", "--forename", "Ada",
                              "--surname", "Lovelace", "--credit", "50GB")
        return printed.splitlines()[0].strip()

    def scan(self, token: str, photos: int = 5, scheme: str = "http") -> "tuple[str, bytes]":
        """A scan as OpenScan3 does it: create, upload, start; waits for the result and downloads it. Returns its name and content."""
        name = self.start_scan(token, photos, scheme)
        return name, self.result(token, name, scheme)

    def start_scan(self, token: str, photos: int = 5, scheme: str = "http") -> str:
        name = f"scan-{uuid.uuid4().hex[:8]}.zip"
        archive = _archive(photos)
        query = f"token={token}&project={name}&photos={photos}&parts=1&filesize={len(archive)}"
        made = self._json(f"/api/openscan/createProject?{query}", scheme)
        link = made["ulink"][0]
        path = "/" + link.split("://", 1)[-1].split("/", 1)[1]
        status, body = self.get(path, scheme, "POST", archive, {"Content-Type": "application/octet-stream"})
        assert status == 200, (status, body)
        self._json(f"/api/openscan/startProject?token={token}&project={name}", scheme)
        return name

    def result(self, token: str, name: str, scheme: str = "http", seconds: float = 1200) -> bytes:
        info = self.wait(f"the result of {name}", lambda: self._finished(token, name, scheme), seconds)
        path = "/" + info["dlink"].split("://", 1)[-1].split("/", 1)[1]
        status, body = self.get(path, scheme)
        assert status == 200 and body[:2] == b"PK", (status, body[:200])
        return body

    def _finished(self, token: str, name: str, scheme: str) -> Optional[dict[str, Any]]:
        info = self._json(f"/api/openscan/getProjectInfo?token={token}&project={name}", scheme)
        if "failed" in info["status"].lower():
            raise AssertionError(f"{info}\n{self.container_logs()}\n{self.task_output()}")
        return info if info.get("dlink") else None

    def _json(self, path: str, scheme: str) -> dict[str, Any]:
        status, body = self.get(path, scheme, headers=BASIC)
        assert status == 200, (path.split("?")[0], status, body[:500])
        return json.loads(body)


def _ask(url: str, method: str, data: Optional[bytes], headers: dict[str, str]) -> "tuple[int, bytes]":
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the trial's own certificate
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(urllib.request.Request(url, data=data, headers=headers, method=method), timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _archive(photos: int) -> bytes:
    """A zip of the first photos of the bananas."""
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(PHOTOS.glob("*.JPG"))[:photos]:
            archive.write(path, path.name)
    return out.getvalue()


def path_without(program: str, directory: Path) -> str:
    """A PATH on which one program of /usr/bin is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    for place in ("/usr/local/bin", "/usr/bin", "/bin"):
        for path in Path(place).iterdir():
            link = directory / path.name
            if path.name != program and not link.is_symlink():
                link.symlink_to(path)
    return os.pathsep.join([str(directory), "/usr/sbin", "/sbin"])
