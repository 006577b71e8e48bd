"""`doctor`: a sound installation has no fault, and each thing that goes wrong is named with how to mend it."""
import http.server
import json
import threading

import pytest
from django.utils import timezone

from deploy import doctor, live
from deploy.webodm import WebODM
from dev.sandbox.processes import free_port
from dev.sandbox.stack import HOST_DIR, Stack
from tests.install.conftest import Target
from tests.support.doctor import PUBLIC, SOUND_WEB, sound_facts


def findings(done) -> dict[str, dict]:
    """The doctor's JSON, by name of the finding; the worst of each name."""
    assert done.stdout, done.stderr
    order = {"good": 0, "warning": 1, "fault": 2}
    found: dict[str, dict] = {}
    for finding in json.loads(done.stdout)["findings"]:
        if finding["name"] not in found or order[finding["level"]] > order[found[finding["name"]]["level"]]:
            found[finding["name"]] = finding
    return found


@pytest.fixture(scope="module")
def installed(equipped: Target) -> Target:
    """A WebODM with us in it."""
    equipped.deploy("install", "--link", "--python", str(equipped.python))
    return equipped


def test_a_running_sandbox_is_sound(stack: Stack, live_db) -> None:
    """Against live web server, worker, broker, database and mail server: no fault but the address, which is this machine's."""
    from app_extensions.host import heartbeat
    from app_extensions.openscan.accounts.tokens import create_token, default_owner
    from app_extensions.openscan.models import Token

    heartbeat.note()  # beat does not run in the tests
    Token.objects.update(revoked_at=timezone.now())  # those of other tests, some of whose owners may use no node on purpose
    create_token(kind="public", owner=default_owner())
    webodm = WebODM(HOST_DIR, python=None, extra_env=stack.environment())
    found = {}
    for finding in doctor.examine(webodm, stack.address()):
        found.setdefault(finding.name, finding)
    assert {name: found[name].level for name in ("versions", "packages", "override", "database", "plugins", "worker", "beat",
                                                 "nodes", "mail", "web")} == dict.fromkeys(
        ("versions", "packages", "override", "database", "plugins", "worker", "beat", "nodes", "mail", "web"), "good"), found
    assert found["public-url"].level == "fault" and "127.0.0.1" in found["public-url"].text


@pytest.mark.parametrize("clients, allowed, level, words", [
    (0, "*", "good", "no Tapis client"), (1, "", "good", "create no new accounts"), (1, " , ", "good", "create no new accounts"),
    (1, "ada, bob@portals", "good", "ada, bob@portals"), (1, "*", "warning", "everybody"), (2, "ada,*@portals", "warning", "everybody"),
])
def test_who_gets_an_account_by_a_tapis_login_is_reported(clients: int, allowed: str, level: str, words: str) -> None:
    finding, = doctor._tapis({"clients": clients, "allowed": allowed})
    assert finding.level == level and words in finding.text and bool(finding.mend) == (level == "warning")


def test_many_faults_at_once(installed: Target, stack: Stack) -> None:
    """A WebODM whose worker and scheduler never met us, without mail, node, public address; a plugin is switched off."""
    installed.shell(
        "from django.contrib.auth.models import User; from app.models import Plugin\n"
        "from app_extensions.openscan.accounts.tokens import create_token\n"
        "create_token(kind='public', owner=User.objects.create_user('nobody'))\n"
        "Plugin.objects.filter(name='tapis_storage').update(enabled=False)")
    done = installed.deploy("doctor", "--json", check=False, env={
        "WO_BROKER": f"{stack.django_env()['WO_BROKER'].rsplit('/', 1)[0]}/7",  # a Redis that no worker listens at
        "WO_OPENSCAN_RESULT_DAYS": "0", "WO_OPENSCAN_PRESET": "3D Modle"})
    found = findings(done)
    assert done.returncode == 1
    expected = {"worker": "no Celery worker", "beat": "never seen", "nodes": "no processing node", "plugins": "tapis_storage is disabled"}
    for name, words in expected.items():
        assert found[name]["level"] == "fault" and words in found[name]["text"], found[name]
        assert found[name]["mend"]
    assert found["mail"]["level"] == "warning" and "WO_SMTP_HOST" in found["mail"]["mend"]
    assert found["preset"]["level"] == "warning" and "'3D Modle', which" in found["preset"]["text"] and "nobody" in found["preset"]["text"]
    assert "system presets: " in found["preset"]["mend"] and "'3D Model'" in found["preset"]["mend"]
    assert found["public-url"]["level"] == "warning" and "WO_OPENSCAN_PUBLIC_URL" in found["public-url"]["text"]
    assert found["openscan.E004"]["level"] == "fault", "a system check's error is a fault"
    installed.sql("UPDATE app_plugin SET enabled = true WHERE name = 'tapis_storage'")


def test_broker_that_does_not_answer(installed: Target) -> None:
    found = findings(installed.deploy("doctor", "--json", check=False, env={"WO_BROKER": f"redis://127.0.0.1:{free_port()}"}))
    assert found["worker" if "worker" in found else "broker"]["level"] == "fault"
    assert "Redis" in found["broker"]["mend"]
    assert found["database"]["level"] == "good", "one broken part does not hide the others"


def test_missing_package_and_broken_override(installed: Target) -> None:
    """WebODM swallows an ImportError in the override; the doctor does not."""
    packages = installed.site_packages
    (packages / "cryptography").rename(packages / "away")
    site = installed.directory / "webodm" / "settings_override_site.py"
    before = site.read_text() if site.exists() else None
    site.write_text("import no_such_module\n")
    try:
        found = findings(installed.deploy("doctor", "--json", check=False))
        assert found["packages"]["level"] == "fault" and "cryptography" in found["packages"]["text"]
        assert found["override"]["level"] == "fault" and "no_such_module" in json.dumps(found["override"])
    finally:
        (packages / "away").rename(packages / "cryptography")
        if before is None:
            site.unlink()
        else:
            site.write_text(before)


def test_override_of_somebody_else(installed: Target) -> None:
    """What WebODM's `--settings FILE` does: its file lies where ours was."""
    path = installed.directory / "webodm" / "settings_override.py"
    ours = path.read_text()
    path.write_text("APP_NAME = 'theirs'\n")
    try:
        found = findings(installed.deploy("doctor", "--json", check=False))
        assert found["override"]["level"] == "fault" and "not ours" in found["override"]["text"]
    finally:
        path.write_text(ours)


@pytest.mark.parametrize(("change", "web", "name"), [
    ({"webodm": "1.9.0"}, {}, "versions"),
    ({"python": "3.12.1"}, {}, "versions"),
    ({"database": {"version": "9.4.1", "missing_migrations": [], "binding": []}}, {}, "database"),
    ({"database": {"version": "9.5", "missing_migrations": ["openscan.0001_initial"], "binding": []}}, {}, "migrations"),
    ({"database": {"version": "9.5", "missing_migrations": [], "binding": ["openscan_scan -> app_task"]}}, {}, "database"),
    ({"plugins": {}}, {}, "plugins"),
    ({"broker": {"workers": {"celery@a": ["app_extensions.openscan"]}}}, {}, "worker"),
    ({"beat": {"entries": [], "age_seconds": None}}, {}, "beat"),
    ({"beat": {"entries": ["x"], "age_seconds": 3600.0}}, {}, "beat"),
    ({"owners": {"nodes": 1, "owners": [{"user": "a", "nodes": 1, "online": 1}, {"user": None, "tokens": ["Ab12Cd"]}]}}, {}, "tokens"),
    ({"owners": {"nodes": 0, "owners": [{"user": "a", "nodes": 0, "online": 0}]}}, {}, "nodes"),
    ({"queue": {"name": "extensions", "default": "celery", "workers": [], "unit": "worker.service"}}, {}, "queue"),
    ({}, {"wrong_answers": {"/api/openscan/status": "HTTP 502: Bad Gateway"}}, "web"),
    ({"disk": {"directory": "/", "free_bytes": 10**9, "reserve_bytes": 10**9}}, {}, "disk"),
    ({"objects": {"place": "https://s3.example.org/scans", "problem": "the storage answered 403"}}, {}, "objects"),
    ({}, {"public": {"scheme": "http"}}, "proxy"),
    ({}, {"public": {"error": "HTTP 404, not our answer"}}, "public-url"),
    ({}, {"mounts_missing": {"/api/openscan/status": 4}}, "web"),
    ({}, {"long_line": False}, "web"),
    ({}, {"error": "Connection refused"}, "web"),
    ({"override": {"error": "", "problems": [], "apps": ["openscan", "tapis"], "includes": []}}, {}, "override"),
])
def test_every_fault_has_a_name_and_a_way_to_mend_it(change: dict, web: dict, name: str) -> None:
    """Faults that a test machine cannot show for real, from what the probe and the web would answer."""
    sound = doctor.judge(sound_facts(), True, SOUND_WEB)
    assert not [finding for finding in sound if finding.level == doctor.FAULT], sound
    faults = [finding for finding in doctor.judge({**sound_facts(), **change}, True, {**SOUND_WEB, **web})
              if finding.level == doctor.FAULT]
    assert {finding.name for finding in faults} == {name}, faults
    assert all(len(finding.mend) >= 10 for finding in faults)


class _Plain(http.server.BaseHTTPRequestHandler):
    """A server that knows none of our addresses and limits its request lines."""

    def do_GET(self) -> None:
        self.send_response(414 if len(self.path) > self.server.longest_line else 404)
        self.end_headers()
        self.wfile.write(b"<html>not here</html>")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("longest_line", [pytest.param(4094, id="gunicorn as it comes"), pytest.param(8192, id="nginx as it comes")])
def test_a_web_server_without_our_routes_is_seen(longest_line: int) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Plain)
    server.longest_line = longest_line  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        seen = live.look(f"http://127.0.0.1:{server.server_port}", {})
    finally:
        server.shutdown()
        server.server_close()
    assert seen["mounts_missing"] == dict.fromkeys(live.MOUNTS, live.ASKED) and not seen["long_line"]
    assert live.look(f"http://127.0.0.1:{server.server_port}", {})["error"], "nobody listens any more"


@pytest.mark.parametrize(("status", "body"), [(502, b"<html>Bad Gateway</html>"), (500, b""), (200, b"<html>another server</html>"),
                                              (200, b'{"status": "online"}')])
def test_any_answer_but_ours_is_a_fault(status: int, body: bytes) -> None:
    """A 502, a 500, or some other server's 200: each is a fault, though something answers. The last case is half ours: one mount."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if "openscan" in self.path else body.replace(b"{", b"<"))

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        web = live.look(f"http://127.0.0.1:{server.server_port}", {})
    finally:
        server.shutdown()
        server.server_close()
    found = [finding for finding in doctor.judge(sound_facts(), True, {**SOUND_WEB, **web, "public": {"scheme": "https"}})
             if finding.level == doctor.FAULT]
    assert found and {finding.name for finding in found} == {"web"} and all(finding.mend for finding in found), found
    assert f"HTTP {status}" in found[-1].text


def test_an_address_that_only_this_machine_cannot_reach_is_a_warning() -> None:
    """Many routers do not let a machine reach its own outside address."""
    found = {finding.name: finding for finding in doctor.judge(
        sound_facts(), True, {**SOUND_WEB, "public": {"error": "Connection refused", "unreachable": True}})}
    assert found["public-url"].level == doctor.WARNING and f"curl -i {PUBLIC}/api/openscan/status" in found["public-url"].mend


@pytest.mark.parametrize(("public", "named", "url"), [
    ({"ssl": "YES"}, "container", "https://localhost:8000"), ({"ssl": "NO"}, "container", "http://localhost:8000"),
    ({"ssl": "YES", "host": "a.example.org", "port": "8000"}, None, "https://a.example.org:8000"), ({}, "http://x", "http://x"),
    ({}, None, None)])
def test_where_the_web_server_is_asked(public: dict, named: str, url: str) -> None:
    assert doctor.guess_url(public, named) == url


@pytest.mark.parametrize(("host", "lonely"), [
    ("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", True), ("a.localhost", True),
    ("192.168.1.5", False), ("scan.example.org", False), ("10.0.0.1", False)])
def test_addresses_that_mean_the_rig_itself(host: str, lonely: bool) -> None:
    assert live.is_this_machine_only(host) is lonely
