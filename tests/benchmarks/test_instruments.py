"""The benchmarks' instruments measure what they say: bytes, CPU time, peak memory, verdicts."""
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dev.benchmarks.devtools import DevToolsError, running
from dev.benchmarks.http import get, send_file
from dev.benchmarks.processes import PeakMemory, cpu_seconds, family
from dev.benchmarks.table import Row, print_table
from dev.benchmarks.upload_page import Memory, make_photos
from tests.plugin import need
from tests.support.waiting import until


@pytest.fixture
def echo():
    """A server that answers a POST with its body's length as it came, and a GET with a million bytes: (address, requests' headers)."""
    headers: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers.append(dict(self.headers))
            if self.headers.get("Transfer-Encoding") == "chunked":
                length = 0
                while True:
                    size = int(self.rfile.readline(), 16)
                    length += len(self.rfile.read(size))
                    self.rfile.readline()
                    if not size:
                        break
            else:
                length = len(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(str(length).encode())

        def do_GET(self) -> None:
            self._answer(b"x" * 1_000_000)

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", headers
    server.shutdown()
    server.server_close()


def test_files_are_sent_whole(echo, tmp_path) -> None:
    address, headers = echo
    path = tmp_path / "file"
    path.write_bytes(bytes(1_500_000))
    for chunked in (False, True):
        answer = send_file(address, path, chunked=chunked)
        assert (answer.status, answer.body) == (200, b"1500000")
    assert headers[0]["Content-Length"] == "1500000" and "Content-Length" not in headers[1]


def test_answers_are_counted_and_cut(echo) -> None:
    address, _ = echo
    assert get(address).body_bytes == 1_000_000
    got = bytearray()
    assert 300_000 <= get(address, stop_after=300_000, into=got).body_bytes < 400_000
    assert set(got) == {ord("x")}


def test_time_and_memory_of_a_process() -> None:
    code = "input(); x = bytearray(80_000_000); x[::4096] = x[::4096]\nfor _ in range(8_000_000): pass\nprint(1, flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        pids = family(process.pid)
        assert pids == [process.pid]
        memory, before = PeakMemory(pids), cpu_seconds(pids)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert cpu_seconds(pids) - before > 0.05
        assert 75e6 < memory.growth_bytes() < 110e6
    finally:
        process.kill()
        process.communicate()


def test_children_are_found() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 30 & read x; kill $!"], stdin=subprocess.PIPE) as process:
        try:
            while len(family(process.pid)) < 2:
                pass
        finally:
            process.communicate(b"\n")


@pytest.mark.slow
def test_a_browser_is_driven_and_its_memory_seen(tmp_path) -> None:
    photos = make_photos(tmp_path / "photos", 3)
    assert len({path.read_bytes() for path in photos}) == 3
    with running(need("chromium"), tmp_path / "profile") as chromium:
        tab = chromium.tab()
        tab.go("data:text/html,<input type=file multiple>")
        tab.choose_files("input", photos)
        tab.until("document.querySelector('input').files.length === 3")
        length = tab.evaluate("document.querySelector('input').files[2].arrayBuffer().then(data => data.byteLength)")
        assert length == photos[2].stat().st_size
        with pytest.raises(DevToolsError, match="nothing is not defined"):
            tab.evaluate("nothing.there")
        memory = Memory(chromium.pid, chromium.pid)
        until(lambda: memory.browser_bytes)
        memory.stop()
        assert 0 < memory.private_bytes <= memory.pss_bytes < memory.browser_bytes


def test_verdicts(capsys) -> None:
    assert print_table([Row("a", ratio=1.0, bound=1.0), Row("b", ratio=9.0), Row("c", skipped="nginx is not installed")])
    assert print_table([Row("a", ratio=1.0, least=1.0)])
    assert not print_table([Row("a", ratio=0.99, least=1.0)])
    assert not print_table([Row("a", ratio=1.01, bound=1.0), Row("b", ratio=0.5, bound=1.0)])
    told = capsys.readouterr().out
    assert ">= 1.00" in told and "<= 1.00" in told
    assert "skipped: nginx is not installed" in told
    assert told.rstrip().endswith("missed: a")
