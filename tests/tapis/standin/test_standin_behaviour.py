"""The stand-in does what the contract says Tapis does, line by line: else our tests prove nothing."""
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.support.tapis import FALSE_KINDS

ODD = "ptdatax.project.ODD-1"
IMAGES = r"regex:(?i)\.jpe?g$"


@pytest.fixture
def tester(lone_tapis):
    """A session of ``tester``; the stand-in without faults."""
    lone_tapis.reset()
    with requests.Session() as session:
        session.headers["X-Tapis-Token"] = lone_tapis.token("tester")
        yield session
    lone_tapis.reset()


@pytest.fixture(autouse=True)
def without_faults(lone_tapis):
    """Every test begins with the stand-in as it starts."""
    lone_tapis.reset()


def ops(lone_tapis, path: str) -> str:
    return f"{lone_tapis.base}/v3/files/ops/{path}"


def content(lone_tapis, path: str) -> str:
    return f"{lone_tapis.base}/v3/files/content/{quote(path)}"


def test_refusals_by_the_filter_are_401_in_plain_text(lone_tapis):
    url, token = ops(lone_tapis, f"{ODD}//"), lone_tapis.token("tester")
    refused = [
        {}, {"Authorization": f"Bearer {token}"}, {"X-Tapis-Token": token, "X-Tapis-Tenant": "portals"},
        {"X-Tapis-Token": lone_tapis.token("tester", "expired")}, {"X-Tapis-Token": "x"},
    ]
    for headers in refused:
        answer = requests.get(url, headers=headers, timeout=120)
        assert answer.status_code == 401 and answer.headers["Content-Type"].startswith("text/plain"), headers
    assert requests.get(url, headers={"X-Tapis-Token": token}, timeout=120).status_code == 200


def test_false_tokens_are_refused(lone_tapis):
    for kind in FALSE_KINDS:
        if kind in ("service", "wrong_issuer"):  # Tapis' own services take these; we must not
            continue
        answer = requests.get(ops(lone_tapis, f"{ODD}//"), headers={"X-Tapis-Token": lone_tapis.token("tester", kind)}, timeout=120)
        assert answer.status_code == 401, kind


def test_missing_credentials_are_401_json_and_survive_a_refresh(lone_tapis):
    for _ in range(2):
        token = lone_tapis.pair("tester")["access_token"]["access_token"]
        answer = requests.get(ops(lone_tapis, "ptdatax.project.NOCRED-4//"), headers={"X-Tapis-Token": token}, timeout=120)
        assert answer.status_code == 401 and answer.json()["status"] == "error"


def test_the_authenticator_echoes_secrets_and_takes_basic_only(lone_tapis, unique):
    key = lone_tapis.client(f"e-{unique}", "http://127.0.0.1/cb")
    url = f"{lone_tapis.base}/v3/oauth2/tokens"
    refresh = {"grant_type": "refresh_token", "refresh_token": lone_tapis.pair("alice", f"e-{unique}")["refresh_token"]["refresh_token"]}
    in_body = requests.post(url, data={**refresh, "client_id": f"e-{unique}", "client_key": key}, timeout=120)
    assert in_body.status_code == 400 and key in in_body.text
    assert requests.post(url, data={**refresh, "refresh_token": "x"}, auth=(f"e-{unique}", key), timeout=120).status_code == 400
    first = requests.post(url, data=refresh, auth=(f"e-{unique}", key), timeout=120)
    again = requests.post(url, data=refresh, auth=(f"e-{unique}", key), timeout=120)
    assert first.status_code == again.status_code == 200, "an old refresh token does not go on working"
    assert first.json()["result"]["refresh_token"]["refresh_token"] != refresh["refresh_token"]
    other = lone_tapis.client(f"f-{unique}", "http://127.0.0.1/cb")
    assert requests.post(url, data=refresh, auth=(f"f-{unique}", other), timeout=120).status_code == 400


def test_authorize_wants_the_registered_callback_and_codes_are_used_once(lone_tapis, unique):
    key = lone_tapis.client(f"g-{unique}", "http://127.0.0.1/cb")
    values = {"client_id": f"g-{unique}", "redirect_uri": "http://127.0.0.1/cb", "response_type": "code", "state": "s t"}
    for change in ({"redirect_uri": "http://127.0.0.1/cb/"}, {"client_id": "none"}, {"response_type": "token"}):
        assert requests.get(f"{lone_tapis.base}/v3/oauth2/authorize", params={**values, **change}, timeout=120).status_code == 400
    back = requests.post(
        f"{lone_tapis.base}/v3/oauth2/login", data={**values, "username": "alice", "approve": "yes"}, allow_redirects=False, timeout=120)
    location = back.headers["Location"]
    assert location.startswith("http://127.0.0.1/cb?code=") and location.endswith("&state=s t"), "not as Tapis writes it"
    code = location.split("code=")[1].split("&")[0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://127.0.0.1/cb"}
    url, auth = f"{lone_tapis.base}/v3/oauth2/tokens", (f"g-{unique}", key)
    assert [requests.post(url, data=form, auth=auth, timeout=120).status_code for _ in range(2)] == [200, 400]


def test_systems_by_default_are_the_callers_own_and_a_hundred(lone_tapis, tester, unique):
    url = f"{lone_tapis.base}/v3/systems"
    assert [row["id"] for row in tester.get(url).json()["result"]] == [ODD]
    everything = [row["id"] for row in tester.get(url, params={"listType": "ALL", "limit": -1}).json()["result"]]
    assert {"ptdatax.project.DISABLED-3", "ptdatax.projectX", "ptdatax.project", "PTDATAX.PROJECT.SHOUT-7"} <= set(everything)
    found = [row["id"] for row in tester.get(url, params={
        "listType": "ALL", "limit": -1, "search": "(id.like.ptdatax.project.*)"}).json()["result"]]
    assert "ptdatax.projectX" not in found and "PTDATAX.PROJECT.SHOUT-7" not in found and ODD in found
    one_character = tester.get(url, params={"listType": "ALL", "search": "(id.like.ptdatax.project.ODD!1)"}).json()["result"]
    assert [row["id"] for row in one_character] == [ODD]
    owner = f"many{unique}"
    lone_tapis.user(owner)
    for number in range(101):
        lone_tapis.system(f"many.{unique}.{number:03d}", owner)
    headers = {"X-Tapis-Token": lone_tapis.token(owner)}
    assert len(requests.get(url, headers=headers, timeout=120).json()["result"]) == 100
    assert len(requests.get(url, headers=headers, params={"limit": -1}, timeout=120).json()["result"]) == 101


def test_disabled_systems_cannot_be_listed_and_foreign_ones_are_403(lone_tapis, tester):
    assert tester.get(ops(lone_tapis, "ptdatax.project.DISABLED-3//")).status_code == 400
    headers = {"X-Tapis-Token": lone_tapis.token("carol")}
    assert requests.get(ops(lone_tapis, f"{ODD}//"), headers=headers, timeout=120).status_code == 403
    assert tester.get(ops(lone_tapis, "ptdatax.project.NOWHERE//")).status_code == 404
    s3 = tester.get(ops(lone_tapis, "ptdatax.project.BUCKET-5/Decoy/code/images"), params={"pattern": IMAGES})
    assert s3.status_code == 400


@pytest.mark.parametrize("count", [1000, 1001, 2500])
def test_listings_come_in_pages_of_a_thousand(lone_tapis, tester, count):
    url = ops(lone_tapis, f"{ODD}/Flight{count}/code/images")
    names: list[str] = []
    while True:
        page = tester.get(url, params={"offset": len(names), "pattern": IMAGES}).json()["result"]
        names += [item["name"] for item in page]
        if len(page) < 1000:
            break
    assert len(names) == count and names == sorted(names)
    assert tester.get(url, params={"limit": 1001}).status_code == 400


def test_what_directories_hold(lone_tapis, tester):
    def items(path: str) -> dict:
        return {item["name"]: item for item in tester.get(ops(lone_tapis, f"{ODD}/{path}")).json()["result"]}

    assert {"a.jpg", "A.JPG", "b.jpeg", "a#1?.jpg", "literal%20space.jpg", "percent%.jpg", "with space.jpg",
            "ünïcode ☃.jpg", "same.jpg", "SAME.jpg"} <= set(items("OddNames/code/images"))
    assert items("NullMime/code/images")["one.jpg"]["mimeType"] is None
    links = items("Links/code/images")
    assert links["link.jpg"]["type"] == "symbolic_link" and links["link.jpg"]["size"] == len("real.jpg")
    assert items("Empty/code/images") == {}
    alone = tester.get(ops(lone_tapis, f"{ODD}/FileForImages/code/images")).json()["result"]
    assert len(alone) == 1 and alone[0]["type"] == "file"
    assert tester.get(ops(lone_tapis, f"{ODD}/FileForCode/code/images")).status_code == 404


def test_contents_are_chunked_whole_and_never_in_ranges(lone_tapis, tester):
    for name in ("a#1?.jpg", "literal%20space.jpg", "with space.jpg", "ünïcode ☃.jpg", "percent%.jpg"):
        answer = tester.get(content(lone_tapis, f"{ODD}/OddNames/code/images/{name}"))
        assert answer.status_code == 200 and "Content-Length" not in answer.headers, name
        assert answer.content[:2] == b"\xff\xd8" and answer.content[-2:] == b"\xff\xd9"
    ranged = tester.get(content(lone_tapis, f"{ODD}/OddNames/code/images/a.jpg"), headers={"Range": "bytes=0-9"})
    assert ranged.status_code == 400
    linked = tester.get(content(lone_tapis, f"{ODD}/Links/code/images/link.jpg"))
    assert linked.content == tester.get(content(lone_tapis, f"{ODD}/Links/code/images/real.jpg")).content
    assert tester.get(content(lone_tapis, f"{ODD}/Links/code/images/broken.jpg")).status_code == 404
    assert tester.get(content(lone_tapis, f"{ODD}/OddNames")).status_code == 400


def test_faults(lone_tapis, tester):
    url = content(lone_tapis, f"{ODD}/OddNames/code/images/a.jpg")
    whole = tester.get(url).content
    lone_tapis.fault("short", after_bytes=500, times=1)
    assert tester.get(url).content == whole[:500]
    assert tester.get(url).content == whole, "the fault went on"
    lone_tapis.fault("abort", after_bytes=500, times=1)
    with pytest.raises(requests.RequestException):
        tester.get(url)
    lone_tapis.fault("status", status=500, times=1)
    assert [tester.get(url).status_code for _ in range(2)] == [500, 200]
    lone_tapis.fault("stall", seconds=1, times=1)
    started = time.monotonic()
    assert tester.get(url).content == whole and time.monotonic() - started > 0.9
    lone_tapis.fault("disconnect", times=1)
    with pytest.raises(requests.ConnectionError):
        tester.get(url)
    lone_tapis.end_faults()
    lone_tapis.fault("status", status=502, every=3)
    assert [tester.get(url).status_code for _ in range(6)] == [502, 200, 200, 502, 200, 200]
    lone_tapis.end_faults()
    lone_tapis.fault("status", status=503, per_path=True, times=1)
    other = content(lone_tapis, f"{ODD}/OddNames/code/images/A.JPG")
    assert [tester.get(each).status_code for each in (url, url, other, other)] == [503, 200, 503, 200]
    assert sum(fault["hits"] for fault in lone_tapis.faults()) == 2


def test_tokens_end_between_files_but_not_in_mid_stream(lone_tapis):
    url = content(lone_tapis, f"{ODD}/OddNames/code/images/a.jpg")
    token = lone_tapis.pair("tester")["access_token"]["access_token"]
    answer = requests.get(url, headers={"X-Tapis-Token": token}, stream=True, timeout=120)
    lone_tapis.expire("tester")
    assert len(answer.content) > 1000
    late = requests.get(url, headers={"X-Tapis-Token": token}, timeout=120)
    assert late.status_code == 401 and late.headers["Content-Type"].startswith("text/plain")
    fresh = lone_tapis.pair("tester")["access_token"]["access_token"]
    lone_tapis.fault("expire", skip=1, times=1)
    codes = [requests.get(url, headers={"X-Tapis-Token": fresh}, timeout=120).status_code for _ in range(3)]
    lone_tapis.end_faults()
    assert codes == [200, 401, 401]


def test_idle_connections_are_closed(lone_tapis):
    lone_tapis.settings(idle_seconds=0.5)
    try:
        parts = urlsplit(lone_tapis.base)
        with socket.create_connection((parts.hostname, parts.port), timeout=120) as connection:
            connection.sendall(b"GET /v3/tenants/portals HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            started = time.monotonic()
            while connection.recv(65536):
                pass
            assert time.monotonic() - started > 0.2
    finally:
        lone_tapis.settings(idle_seconds=5.0)


def test_calls_are_counted_and_take_no_forty_milliseconds(lone_tapis, tester):
    url = f"{lone_tapis.base}/v3/systems/{ODD}"
    tester.get(url)
    before, seconds = lone_tapis.counters().get("system", 0), []
    for _ in range(50):
        started = time.monotonic()
        assert tester.get(url).status_code == 200
        seconds.append(time.monotonic() - started)
    assert lone_tapis.counters()["system"] == before + 50
    # A busy machine delays some calls; Nagle's algorithm would delay all but the first few of a connection.
    quick = sorted(seconds)[len(seconds) // 4]
    assert quick < 0.035, f"{quick * 1000:.1f} ms a call on a kept-alive connection"


def test_many_clients_at_once(lone_tapis, tester):
    token = tester.headers["X-Tapis-Token"]
    url = content(lone_tapis, f"{ODD}/OddNames/code/images/a.jpg")

    def fetch(_: int) -> int:
        return len(requests.get(url, headers={"X-Tapis-Token": token}, timeout=120).content)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(fetch, range(32)))) == 1
    assert 1 < lone_tapis.peaks()["content"] <= 8
