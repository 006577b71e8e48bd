"""What hostile and slow clients cost the others: masking, requestToken, slow uploads beside polling rigs, and hostile uploads.

Figures are ratios of two measurements in one run, as machines differ.
"""
import base64
import contextlib
import socket
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

from dev.benchmarks.http import Answer, get
from dev.benchmarks.processes import cpu_seconds, family
from dev.benchmarks.table import Row
from dev.sandbox.stack import Stack

RIGS = 40
POLLS = 200
BASIC = "Basic " + base64.b64encode(b"openscan:free").decode()
#: A polling rig may wait so much longer while all the others upload. With three workers that take one request each it was 60 times.
POLL_BOUND = 5.0
LINEAR_BOUND = 3.0
SAME_BOUND = 1.5


def measure(stack: Stack) -> "list[Row]":
    """All of them against a running sandbox."""
    return [*_masking(), *_request_token(stack), *_slow_uploads(stack), *_hostile_uploads(stack)]


def _masking() -> "list[Row]":
    """CPU time per character of a log line, twice as long a line against half of it: 1 is linear, 2 is quadratic."""
    from app_extensions.host.logs import mask

    def cpu(text: str) -> float:
        started = time.process_time()
        for _ in range(5):
            mask(text)
        return (time.process_time() - started) / 5

    rows = []
    for name, unit in (("a path of dots", "a."), ("spaces after a header", " "), ("half JSON web tokens", "-eyJaaaaaaaa")):
        start = "authorization:" if unit == " " else "/"
        long, short = (cpu(start + unit * (size // len(unit))) for size in (2_000_000, 1_000_000))
        rows.append(Row(f"masking 2 MB of {name}: CPU s, against 1 MB", f"{long:.3f}", f"{short:.3f}", long / short, LINEAR_BOUND))
    return rows


def _request_token(stack: Stack) -> "list[Row]":
    """The median answer to an address that has asked before, against one that never did, taken in turns."""
    from app_extensions.openscan.models import RequestAttempt

    known = f"known-{uuid.uuid4().hex}@example.org"
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(120):
        is_known = turn % 2 == 0
        RequestAttempt.objects.all().delete()  # the limit is not what is measured
        mail = known if is_known else f"{uuid.uuid4().hex}@example.org"
        answer = _call(stack, "requestToken", mail=mail, forename="Bench", lastname="Mark")
        if turn >= 20:
            seconds[is_known].append(answer.seconds)
    old, new = (statistics.median(seconds[is_known]) for is_known in (True, False))
    return [Row("requestToken: median ms, known address against a new one", f"{old * 1000:.1f}", f"{new * 1000:.1f}",
                max(old, new) / min(old, new), SAME_BOUND)]


def _slow_uploads(stack: Stack) -> "list[Row]":
    """getProjectInfo while 40 rigs upload on slow lines, against the same without them."""
    secret, names, links = _sets(stack, RIGS)

    def polls() -> "list[float]":
        return sorted(_call(stack, "getProjectInfo", token=secret, project=names[number % RIGS]).seconds for number in range(POLLS))

    polls()
    quiet = polls()
    with _dripping(links):
        busy = polls()
    rows = []
    for name, place in (("median", POLLS // 2), ("99th percentile", POLLS * 99 // 100)):
        rows.append(Row(f"getProjectInfo beside {RIGS} slow uploads: {name}, ms, against none", f"{busy[place] * 1000:.1f}",
                        f"{quiet[place] * 1000:.1f}", busy[place] / quiet[place], POLL_BOUND))
    return rows


def _hostile_uploads(stack: Stack) -> "list[Row]":
    """CPU time of the web server for an upload to a link that is not ours, 8 MB against 1 kB of body."""
    pids = family(stack.service("web").pid)
    link = f"{stack.address()}/api/openscan/u/1.1.9999999999.{'x' * 22}"

    def cpu(size_bytes: int) -> float:
        before = cpu_seconds(pids)
        for _ in range(10):
            _send(link, b"x" * size_bytes)
        return max(0.01, (cpu_seconds(pids) - before) / 10)

    cpu(1000)
    large, small = cpu(8_000_000), cpu(1000)
    return [Row("an upload of 8 MB without a good link: CPU s, against 1 kB", f"{large:.3f}", f"{small:.3f}", large / small)]


def _call(stack: Stack, command: str, **parameters: str) -> Answer:
    answer = get(f"{stack.address()}/api/openscan/{command}?{urlencode(parameters)}", Authorization=BASIC)
    if answer.status != 200:
        raise RuntimeError(f"{command} answered {answer.status}: {answer.body[:300]!r}")
    return answer


def _sets(stack: Stack, count: int) -> "tuple[str, list[str], list[str]]":
    """A token's text, and for each of so many scans its name and its upload link."""
    from app_extensions.openscan import links
    from app_extensions.openscan.accounts import tokens
    from app_extensions.openscan.intake import scans

    token, secret = tokens.create_token(forename="Bench", surname="Mark", mail="abuse@example.org", credit_bytes=10**12)
    made = [scans.create_scan(token, uuid.uuid4().hex, photos=1, parts=1, filesize_bytes=100_000_000) for _ in range(count)]
    return secret, [scan.name for scan in made], [links.upload_links(scan, stack.address())[0] for scan in made]


@contextlib.contextmanager
def _dripping(links: "list[str]") -> Iterator[None]:
    """One upload per link that sends 10 kB ten times a second and does not end before the block does."""
    connections = [_begin(link, 100_000_000) for link in links]
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.1):
            for connection in connections:
                connection.sendall(b"x" * 10_000)

    sender = threading.Thread(target=drip, daemon=True)
    sender.start()
    time.sleep(1)
    try:
        yield
    finally:
        ended.set()
        sender.join()
        for connection in connections:
            connection.close()


def _begin(link: str, length: int) -> socket.socket:
    address = urlsplit(link)
    connection = socket.create_connection((address.hostname, address.port), timeout=120)
    connection.sendall(f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {length}\r\n\r\n".encode())
    return connection


def _send(link: str, body: bytes) -> None:
    """Send a body, and read the answer to its end."""
    with _begin(link, len(body)) as connection:
        connection.sendall(body)
        while connection.recv(65536):
            pass

