"""A result of 200 MB by its link, against nginx that serves the same file, and a download that is cut and resumed."""
import datetime
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.benchmarks.http import get
from dev.benchmarks.table import Row
from dev.sandbox.processes import Service, accepts_tcp, free_port
from dev.sandbox.stack import Stack

RESULT_BYTES = 200_000_000
ROUNDS = 9
WALL_BOUND = 1.5
RESENT_BOUND = 0.51


def measure(stack: Stack, directory: Path) -> list[Row]:
    """The fastest of nine downloads each, in turn; the bytes of a resumed one."""
    link, path = _result(stack)
    resumed = _resumed_bytes(link, path)
    row = Row("result cut at half and resumed: bytes sent again", f"{resumed / 1e6:.1f} MB", f"{RESULT_BYTES / 1e6:.0f} MB",
              resumed / RESULT_BYTES, RESENT_BOUND)
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        return [Row("result of 200 MB: wall s, against nginx", skipped="nginx is not installed"), row]
    walls: dict[str, list[float]] = {"ours": [], "nginx": []}
    with _nginx(nginx, path, directory) as theirs:
        for _ in range(ROUNDS):
            for name, url in (("ours", link), ("nginx", theirs)):
                answer = get(url)
                if (answer.status, answer.body_bytes) != (200, RESULT_BYTES):
                    raise RuntimeError(f"{name} answered {answer.status} with {answer.body_bytes} bytes")
                walls[name].append(answer.seconds)
    ours, other = min(walls["ours"]), min(walls["nginx"])
    return [Row("result of 200 MB: wall s, against nginx", f"{ours:.3f}", f"{other:.3f}", ours / other, WALL_BOUND), row]


def _result(stack: Stack) -> tuple[str, Path]:
    """A scan that is done, with a result of random bytes: its link and its file."""
    from django.utils import timezone

    from app_extensions.openscan import part_files
    from app_extensions.openscan.accounts import tokens
    from app_extensions.openscan.models import Scan
    from app_extensions.openscan.results import packing

    token, _ = tokens.create_token(forename="Bench", surname="Mark", mail="results@example.org", credit_bytes=1)
    now = timezone.now()
    scan = Scan.objects.create(
        token=token, name=uuid.uuid4().hex, state=Scan.DONE, photos=1, parts_count=1, declared_bytes=1, upload_nonce="x",
        links_expire_at=now, released_at=now, finished_at=now, result_bytes=RESULT_BYTES, result_link=packing.new_link(),
        result_expires_at=now + datetime.timedelta(days=7),
    )
    scan.result_file = packing.new_file_name(scan)
    scan.save()
    path = part_files.results_dir() / scan.result_file
    with path.open("wb") as file:
        for _ in range(RESULT_BYTES // 1_000_000):
            file.write(os.urandom(1_000_000))
    return packing.result_url(scan, stack.address()), path


def _resumed_bytes(link: str, path: Path) -> int:
    """Cut a download at its half, go on with a Range, compare with the file; returns the second answer's bytes."""
    got = bytearray()
    get(link, stop_after=RESULT_BYTES // 2, into=got)
    del got[RESULT_BYTES // 2:]
    rest = get(link, into=got, Range=f"bytes={len(got)}-")
    if rest.status != 206 or bytes(got) != path.read_bytes():
        raise RuntimeError(f"the resumed download is not the file (status {rest.status})")
    return rest.body_bytes


@contextmanager
def _nginx(program: str, path: Path, directory: Path) -> Iterator[str]:
    port = free_port()
    home = directory / "nginx"
    home.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(f"{name}_temp_path {home}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (home / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;\n"
        f"events {{ worker_connections 64; }}\n"
        f"http {{ sendfile on; tcp_nopush on; access_log off; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; root {path.parent}; }} }}\n"
    )
    argv = [program, "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")]
    service = Service(name="nginx", log=home / "log", env=dict(os.environ), ready=lambda: accepts_tcp(port), argv=argv)
    service.start()
    try:
        service.wait_ready()
        yield f"http://127.0.0.1:{port}/{path.name}"
    finally:
        service.stop()
