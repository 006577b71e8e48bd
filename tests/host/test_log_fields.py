"""Log lines say what they are about, from a live web server's to a live worker's; as text and as JSON; and keep secrets."""
import json
import logging
import re

import pytest

from app_extensions.host import log_fields, logs
from tests.openscan.flow import send, wait_for
from tests.openscan.helpers import Rig, own_gunicorn, private_token, put_part
from tests.openscan.make_sets import photos
from tests.support.waiting import until


@pytest.fixture
def lines():
    """What a logger of ours writes, as text."""
    logs.install()
    found: list = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(self.format(record))

    handler = Keep()
    logger = logging.getLogger("app.logger")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def test_fields_hold_inside_their_block(lines):
    logger = logging.getLogger("app.logger")
    log_fields.note_fields(scan=1)
    logger.warning("before")
    with log_fields.log_fields(request="abc", scan=None):
        logger.warning("100%% of %s", "it")
        with log_fields.log_fields(scan=7):
            logger.warning("inner")
        log_fields.note_fields(flight=3)
        logger.warning("noted")
    logger.warning("after")
    assert lines == ["before", "100% of it request=abc", "inner request=abc scan=7", "noted request=abc flight=3", "after"]


def test_fields_do_not_get_past_the_mask(lines):
    with log_fields.log_fields(scan=7):
        try:
            raise ValueError("https://h/?token=SECRETSECRET")
        except ValueError:
            logging.getLogger("app.logger").exception("asked https://h/?token=SECRETSECRET")
    assert "SECRET" not in lines[0] and lines[0].splitlines()[0] == "asked https://h/?token=******** scan=7"


@pytest.mark.parametrize("given, kept", [
    ("a1b2c3d4-5678", True), ("short", False), ("x" * 65, False), ("two words", False), ("line\nbreak12", False), ("", False)])
def test_a_proxys_request_id_is_kept_if_it_is_one(rf, given, kept):
    with log_fields.request_fields(rf.get("/", HTTP_X_REQUEST_ID=given)) as request_id:
        assert (request_id == given) is kept and re.fullmatch(r"[A-Za-z0-9._-]{8,64}", request_id)
        assert log_fields.current() == {"request": request_id}


def test_json_lines():
    factory = logs._MaskingFactory(logging.LogRecord, as_json=True)
    with log_fields.log_fields(scan=7, request="abc"):
        try:
            raise KeyError("token=SECRETSECRET")
        except KeyError as error:
            record = factory("app.logger", logging.ERROR, __file__, 1, "it %s", ("failed",), (KeyError, error, error.__traceback__))
    told = json.loads(logs.JsonFormatter().format(record))
    assert (told["message"], told["level"], told["scan"], told["request"]) == ("it failed", "ERROR", "7", "abc")
    assert "KeyError" in told["exception"] and "SECRET" not in told["exception"] and told["time"].endswith("+00:00")


def tail(stack, *names):
    """Gives what these services' logs gain from now on."""
    places = {name: stack.log_path(name).stat().st_size if stack.log_path(name).exists() else 0 for name in names}

    def read() -> str:
        text = ""
        for name, place in places.items():
            with stack.log_path(name).open("rb") as log:
                log.seek(place)
                text += log.read().decode(errors="replace")
        return text

    return read


def test_a_scan_is_followed_from_the_request_to_the_worker(stack, live_db, unique):
    web, worker = tail(stack, "web"), tail(stack, "worker")
    token, text = private_token(10**12)
    rig = Rig(stack.address(), text)
    rig.session.headers["X-Request-ID"] = f"rig-{unique}"
    project = send(rig, photos(3))
    answer = rig.get("getProjectInfo", project=project)
    assert answer.headers["X-Request-ID"] == f"rig-{unique}"
    scan = token.scans.get().pk
    wait_for(rig, project, "processing done")
    asked = f"request=rig-{unique} scan={scan}"
    for words in (f"scan {scan} created", f"scan {scan} started"):
        assert re.search(rf"{words}.* {asked}$", web(), re.M), words
    assert re.search(rf"part 1 of scan {scan} received.* request=[0-9a-f]{{12}} scan={scan}$", web(), re.M), "no proxy: an id of ours"
    until(lambda: re.search(rf"scan {scan} taken in.* {asked} job=[0-9a-f]{{8}}$", worker(), re.M), 30, says="the ingest's line")
    until(lambda: re.search(rf"scan {scan} \(3 photos\) handed to WebODM.* scan={scan}( job=\w+)?( scan={scan})?$", worker(), re.M), 30)
    until(lambda: re.search(rf"scan {scan} done.* scan={scan}.* job=[0-9a-f]{{8}}$", worker(), re.M), 30, says="the end's line")
    assert text not in web() + worker()

    def of_webodm(scan: int) -> bool:
        return bool(re.search(rf"(Automatically assigned|goes to node|Processing).* scan={scan}", worker()))

    # WebODM looks for tasks every few seconds, too. What it finds before our message wakes it has no fields.
    for _ in range(5):
        if of_webodm(scan):
            break
        project = send(rig, photos(3))
        wait_for(rig, project, "processing done")
        scan = token.scans.order_by("-pk").first().pk
    else:
        raise AssertionError("none of WebODM's own lines says which scan it is about")


def test_links_that_are_refused_do_not_stand_in_the_log(stack, live_db, unique):
    """Django logs the path of whatever is refused, and an upload link that was too full once is good for four hours more."""
    web = tail(stack, "web")
    link = Rig(stack.address(), private_token()[1]).create(unique, 9)[0]
    assert put_part(link, b"x" * 10).status_code == 413
    number, secret = link.rpartition("/u/")[2].split(".", 1)
    until(lambda: f"Request Entity Too Large: /api/openscan/u/{number}.****" in web(), 30, says="the refusal")
    assert secret.rpartition(".")[2] not in web()
    assert put_part(link, b"x" * 9).status_code == 200
    assert logs.mask(f"Gone: /api/openscan/download/{number}.{secret}.zip") == f"Gone: /api/openscan/download/{number}.********"
    assert logs.mask("Not Found: /api/openscan/u/ and /api/openscan/download/") == "Not Found: /api/openscan/u/ and /api/openscan/download/"


def test_a_flight_is_followed_from_the_request_to_the_worker(stack, live_db, unique):
    from tests.support.flights import Flyer
    from tests.support.tapis import StandIn

    web, worker = tail(stack, "web"), tail(stack, "worker")
    stand_in = StandIn(stack.address("tapis"))
    stand_in.reset()
    flyer = Flyer(stack.address(), stand_in, "l" + unique)
    flyer.flight("Logged", 3, size_bytes=400_000)
    flyer.create()
    answer = flyer.call("POST", "tapis-storage/sync-project-images/", {"project_id": flyer.project("Logged")},
                        headers={"X-Request-ID": f"person-{unique}"})
    assert answer.status_code == 202 and answer.headers["X-Request-ID"] == f"person-{unique}"
    job, flight = answer.json()["job_id"], flyer.row("Logged").pk
    assert flyer.wait(job)["state"] == "completed"
    about = f"request=person-{unique} flight={flight} tapis_job={job}"
    assert re.search(rf"sync {job} of flight {flight} is started {about}$", web(), re.M)
    ended = rf"sync {job}: running -> completed \(complete\) {about} job=[0-9a-f]{{8}}$"
    until(lambda: re.search(ended, worker(), re.M), 30, says="the end's line")
    assert flyer.jwt not in web() + worker()


def test_a_web_server_that_writes_json(stack, live_db, unique):
    with own_gunicorn(stack, f"web-json-{unique}", workers=1, WO_LOG_JSON="YES") as web:
        rig = Rig(web.address, private_token()[1])
        rig.create(unique, 9)

        def created() -> list:
            told = [json.loads(line) for line in stack.log_path(f"web-json-{unique}").read_text().splitlines() if line.startswith("{")]
            return [line for line in told if "created" in line["message"] and line["logger"] == "app.logger"]

        found = until(created, 30)
    assert found[0]["level"] == "INFO" and found[0]["scan"].isdigit() and re.fullmatch(r"[0-9a-f]{12}", found[0]["request"])
    assert "scan=" not in found[0]["message"]
