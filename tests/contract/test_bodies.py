"""Contract, "Routes, CSRF, authentication": request bodies, request lines and file responses."""
import http.client
import re
import socket
from urllib.parse import urlsplit

import pytest
import requests

MEGABYTE = 1 << 20


def status_of_large_post(url: str, size: int) -> int:
    """The answer's status. Gunicorn answers without reading the body, nginx wants all of it first."""
    parts = urlsplit(url)
    nginx = "nginx" in requests.get(f"{parts.scheme}://{parts.netloc}/login/").headers["Server"]
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as link:
        link.sendall(f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
        if nginx:
            link.sendall(b"x" * size)
        return int(link.recv(100).split()[1])


def test_a_body_above_ten_megabytes_is_400_when_read_whole(probe):
    url = f"{probe.url}/contract-probe/body"
    assert requests.post(url, data=b"x" * (10 * MEGABYTE)).json() == {"bytes": 10 * MEGABYTE}
    assert status_of_large_post(url, 10 * MEGABYTE + 1) == 400


def test_a_body_read_piece_by_piece_may_be_large_and_takes_no_memory(probe):
    size = 60 * MEGABYTE

    class Zeros:
        def __init__(self):
            self.left = size

        def __len__(self):
            return size

        def read(self, count=-1):
            count = min(self.left, MEGABYTE if count < 0 else count)
            self.left -= count
            return b"\0" * count

    answer = requests.post(f"{probe.url}/contract-probe/stream", data=Zeros()).json()
    assert answer["bytes"] == size
    assert answer["grown_kilobytes"] < 16 * 1024


def test_the_upload_parser_leaves_its_file_behind(probe):
    """In MEDIA_TMP, until the clean-up deletes it after 24 hours."""
    answer = requests.post(f"{probe.url}/contract-probe/upload/photo.zip", data=b"x" * (5 * MEGABYTE),
                           headers={"Content-Type": "application/octet-stream"}).json()
    assert answer["bytes"] == 5 * MEGABYTE
    found = probe.shell("import os\nfrom django.conf import settings\n"
                        "result = [os.path.dirname(path) == settings.MEDIA_TMP, os.path.getsize(path)]\nos.remove(path)",
                        path=answer["path"])
    assert found == [True, 5 * MEGABYTE]


def test_file_responses_ignore_range(probe):
    answer = requests.get(f"{probe.url}/contract-probe/file", headers={"Range": "bytes=10-19"})
    assert answer.status_code == 200
    assert len(answer.content) == 1000
    assert "Content-Range" not in answer.headers


def chunked(url: str) -> tuple[http.client.HTTPResponse, str]:
    """Post five bytes without a Content-Length. Returns the answer and its text.

    Everything goes out in one call. Gunicorn may answer and close without reading the body, and later bytes would reset the connection.
    """
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as link:
        link.sendall(head.encode() + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
        answer = http.client.HTTPResponse(link, method="POST")
        answer.begin()
        return answer, answer.read().decode()


def test_chunked_bodies_get_a_length_from_nginx_and_none_from_gunicorn(probe):
    answer, text = chunked(f"{probe.url}/contract-probe/stream")
    behind_nginx = "nginx" in answer.headers.get("Server", "")
    assert ('"bytes": 5' in text) if behind_nginx else ('"bytes": 0' in text)


@pytest.mark.parametrize(("flags", "length", "status"), [
    ([], 4094 - len("GET / HTTP/1.1") - 10, 200),
    ([], 5000, 400),
    (["--limit-request-line", "8190"], 5000, 200),
    (["--limit-request-line", "30000"], 9000, 400),
    (["--limit-request-line", "0"], 9000, 200),
    (["--limit-request-line", "0"], 60000, 200),
])
def test_request_lines_of_gunicorn(host, tmp_path, flags, length, status):
    """It dies above 4094 bytes, clamps the limit to 8190, and has none with 0. Asked of the WebODM's own gunicorn."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = host.shell(
        "import os, socket, subprocess, sys, tempfile, time\n"
        "directory = tempfile.mkdtemp()\n"
        "open(os.path.join(directory, 'tiny.py'), 'w').write(\n"
        "    'def app(environ, start):\\n    start(\"200 OK\", [])\\n    return [b\"ok\"]\\n')\n"
        "server = subprocess.Popen([sys.executable, '-m', 'gunicorn', 'tiny:app', '--chdir', directory, '--bind',\n"
        "                           '127.0.0.1:%d' % port] + flags, stderr=subprocess.DEVNULL,\n"
        "                          env={key: value for key, value in os.environ.items() if key != 'GUNICORN_CMD_ARGS'})\n"
        "try:\n"
        "    for _ in range(100):\n"
        "        try:\n"
        "            link = socket.create_connection(('127.0.0.1', port), timeout=60)\n"
        "            break\n"
        "        except OSError:\n"
        "            time.sleep(0.1)\n"
        "    link.sendall(b'GET /?' + b'x' * length + b' HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "    result = int(link.recv(100).split()[1])\n"
        "finally:\n"
        "    server.terminate()\n"
        "    server.wait()\n", port=port, flags=flags, length=length)
    assert answer == status


def test_nginx_logs_request_lines_and_buffers_all_but_zip_downloads(host):
    if host.is_sandbox:
        pytest.skip("the sandbox has no nginx")
    templates = host.shell(
        "import glob, os\nfrom django.conf import settings\n"
        "result = [open(path).read() for path in glob.glob(os.path.join(settings.BASE_DIR, 'nginx', '*.template'))]")
    assert templates
    for text in templates:
        assert "unix:/tmp/gunicorn.sock" in text
        assert "proxy_request_buffering off" not in text
        assert re.search(r"location ~[^{]*download/[^{]*zip[^{]*\{[^}]*proxy_buffering off", text)
        assert re.search(r"log_format \S+ [^;]*\$request\b", text)  # the whole request line


def test_static_files_are_served(host):
    """By nginx, or by the sandbox itself."""
    answer = requests.get(f"{host.url}/login/")
    if not host.is_sandbox and "nginx" not in answer.headers["Server"]:
        pytest.skip("there is no nginx at this address")
    page = answer.text.replace("'", '"')
    paths = {part for part in page.split('"') if part.startswith("/static/")}
    assert paths, "the login page names no static file"
    assert {path: requests.get(host.url + path).status_code for path in paths} == dict.fromkeys(paths, 200)
