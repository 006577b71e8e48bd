"""Discovery against the stand-in: what counts as a flight, how many calls it takes, what becomes of failures."""
import pytest

SYSTEM_KEYS = ["id", "host", "systemType", "description", "created"]
FLIGHT_KEYS = ["flight_name", "system_id", "images_path", "image_count", "discovered_at"]


def discover(flyer, **body):
    return flyer.post("tapis-storage/discover-flights/", body)


def counts(answer):
    return {flight["flight_name"]: flight["image_count"] for flight in answer["flights"]}


def test_systems_have_the_documented_form_and_no_decoy_is_among_them(flyer, tapis):
    shared = "ptdatax.project.Shared-" + flyer.name
    tapis.system(shared, owner="someone", shared_with=[flyer.name], title="A human title")
    decoys = ["ptdatax.projectX" + flyer.name, "other.ptdatax.project." + flyer.name, "PTDATAX.PROJECT." + flyer.name]
    for decoy in decoys:
        tapis.system(decoy, owner=flyer.name)
    tapis.system("ptdatax.project.off-" + flyer.name, owner=flyer.name, enabled=False)
    tapis.system("ptdatax.project.hidden-" + flyer.name, owner="someone")
    answer = flyer.get("tapis-storage/systems/")
    assert {system["id"] for system in answer["systems"]} == {flyer.system, shared}
    assert answer["success"] is True and answer["count"] == 2
    assert list(answer) == ["success", "systems", "count"]
    own = next(system for system in answer["systems"] if system["id"] == flyer.system)
    assert list(own) == SYSTEM_KEYS
    assert own["systemType"] == "LINUX" and own["description"] == "A test system" and own["created"].startswith("20")
    assert next(system for system in answer["systems"] if system["id"] == shared)["description"] == "A human title"


def test_more_systems_than_the_default_page_of_100(flyer, tapis):
    for number in range(105):
        tapis.system(f"ptdatax.project.many-{flyer.name}-{number:03d}", owner="someone", shared_with=[flyer.name])
    assert flyer.get("tapis-storage/systems/")["count"] == 106


def test_what_is_a_flight_and_what_is_not(flyer, tapis):
    def put(path, **more):
        tapis.file(flyer.system, path, **more)

    for name in ("a.jpg", "B.JPG", "c.jpeg", "D.JpEg"):
        put(f"AnyCase/code/images/{name}")
    put("AnyCase/code/images/notes.txt")
    put("AnyCase/code/images/raw.dng")
    put("AnyCase/code/images/jpg")
    put("NullMime/code/images/one.jpg", mime=None)
    put("Flight #7 100%/code/images/a b.jpg")
    put("Комма, ☃ %20?/code/images/x.jpg")
    put("Empty/code/images", action="directory")
    put("NoImages/code", action="directory")
    put("NoCode", action="directory")
    put("NotImages/code/images/readme.txt")
    put("FileForImages/code/images")
    put("FileForCode/code")
    put("loose.jpg")
    put("Deeper/more/code/images/x.jpg")
    put("WrongCase/Code/Images/x.jpg")
    put("SubdirectoryOnly/code/images/deeper.jpg", action="directory")
    put("Linked", action="link", target="NullMime")
    put("BrokenLink", action="link", target="nowhere")
    answer = discover(flyer)
    assert counts(answer) == {"AnyCase": 4, "NullMime": 1, "Flight #7 100%": 1, "Комма, ☃ %20?": 1, "Linked": 1}
    assert "errors" not in answer
    first = answer["flights"][0]
    assert list(first) == FLIGHT_KEYS
    assert first["images_path"] == "AnyCase/code/images" and first["system_id"] == flyer.system
    assert first["discovered_at"].startswith("20") and "T" in first["discovered_at"]


def test_a_system_costs_one_call_and_one_a_directory(flyer, tapis):
    for number in range(7):
        flyer.flight(f"F{number}", 2)
    for number in range(5):
        tapis.file(flyer.system, f"plain{number}", action="directory")
    tapis._call("POST", "counters/reset")
    assert discover(flyer)["count"] == 7
    counters = tapis.counters()
    assert counters[f"list:{flyer.system}"] == 1 + 12
    assert counters["systems"] == 1
    assert counters.get("content", 0) == 0


@pytest.mark.parametrize("images, calls", [(999, 1), (1000, 2), (1001, 2), (2500, 3)])
def test_pages_of_1000(flyer, tapis, images, calls):
    flyer.flight("Big", images)
    tapis._call("POST", "counters/reset")
    assert counts(discover(flyer)) == {"Big": images}
    assert tapis.counters()[f"list:{flyer.system}"] == 1 + calls


def test_patterns_that_match_whole_names(flyer, tapis):
    """The service's documents leave it open whether a regex is searched or must match the whole name."""
    tapis.settings(regex_full_match=True)
    flyer.flight("Whole", 3)
    assert counts(discover(flyer)) == {"Whole": 3}


def test_a_system_type_without_patterns(flyer, tapis):
    bucket = tapis.system("ptdatax.project.bucket-" + flyer.name, owner=flyer.name, system_type="S3")
    tapis.flight(bucket, "InABucket", 4)
    tapis.file(bucket, "InABucket/code/images/readme.txt")
    assert counts(discover(flyer, systems=[bucket])) == {"InABucket": 4}


def test_failing_systems_are_named_with_their_reason_and_the_others_go_on(flyer, tapis):
    flyer.flight("Good", 2)
    bad = tapis.system("ptdatax.project.nocred-" + flyer.name, owner=flyer.name, has_credentials=False)
    broken = tapis.system("ptdatax.project.broken-" + flyer.name, owner=flyer.name)
    tapis.fault("status", operation="list", path=f"^{broken}/", status=500, body='{"message": "SSH_TROUBLE"}')
    refreshes = tapis.counters().get("token.refresh_token", 0)
    answer = discover(flyer)
    assert counts(answer) == {"Good": 2} and answer["success"] is True
    assert len(answer["errors"]) == 2
    assert any(error.startswith(f"{bad}: System not accessible") and "credentials" in error for error in answer["errors"])
    assert any(error.startswith(f"{broken}: System not accessible") and "SSH_TROUBLE" in error for error in answer["errors"])
    # Refreshing does not help a missing credential: once at most, never once a system.
    assert tapis.counters().get("token.refresh_token", 0) - refreshes <= 1
    tapis.end_faults()
    results = flyer.create()
    assert results["systems_scanned"] == 2 and results["flights_discovered"] == 1
    assert any(error.startswith(f"{bad}: ") for error in results["errors"])


@pytest.mark.parametrize("status, body, content_type", [
    (403, '{"message": "not yours"}', "application/json"), (400, "not yours, says a bare string", "text/plain"),
    (504, "<html>not yours</html>", "text/html"),
])
def test_a_directory_that_cannot_be_read_is_named(flyer, tapis, status, body, content_type):
    flyer.flight("Good", 2)
    flyer.flight("Secret", 2)
    tapis.fault("status", operation="list", path="/Secret/", status=status, body=body, content_type=content_type)
    answer = discover(flyer)
    assert counts(answer) == {"Good": 2}
    assert len(answer["errors"]) == 1 and "Secret" in answer["errors"][0] and "not yours" in answer["errors"][0]


@pytest.mark.parametrize("kind, more", [
    ("status", {"status": 500, "body": '{"message": "once"}'}), ("status", {"status": 502, "content_type": "text/html"}),
    ("status", {"status": 503}), ("disconnect", {}),
])
def test_what_fails_once_is_tried_again(flyer, tapis, kind, more):
    flyer.flight("Good", 2)
    tapis.fault(kind, operation="list", times=1, per_path=True, **more)
    answer = discover(flyer)
    assert counts(answer) == {"Good": 2} and "errors" not in answer


def test_a_token_that_ends_between_calls_is_refreshed_once(flyer, tapis):
    for number in range(12):
        flyer.flight(f"F{number}", 1)
    tapis._call("POST", "counters/reset")
    tapis.fault("expire", operation="list", skip=4, times=1)
    assert discover(flyer)["count"] == 12
    assert tapis.counters()["token.refresh_token"] == 1


def test_a_discovery_that_is_broken_off_asks_no_further(flyer, tapis, settings):
    """Such as by Ctrl-C in the command."""
    from app_extensions.tapis.catalog.flights import discover as discover_here
    from app_extensions.tapis.login.access import TapisAccess

    def stop(read, known, images):
        if read:
            raise KeyboardInterrupt

    settings.TAPIS_LISTING_CONNECTIONS = 2
    for number in range(40):
        flyer.flight(f"F{number}", 1)
    tapis._call("POST", "counters/reset")
    tapis.fault("slow", operation="list", path="/F", seconds=0.1)
    with pytest.raises(KeyboardInterrupt):
        discover_here(TapisAccess(flyer.user, flyer.client), None, stop)
    assert tapis.counters()["list"] < 12


def test_asking_for_systems_by_name(flyer, tapis):
    flyer.flight("Mine", 1)
    other = tapis.system("ptdatax.project.other-" + flyer.name, owner=flyer.name)
    tapis.flight(other, "Other", 1)
    assert counts(discover(flyer, systems=[other])) == {"Other": 1}
    missing = "ptdatax.project.missing-" + flyer.name
    answer = discover(flyer, systems=[other, missing])
    assert counts(answer) == {"Other": 1} and answer["errors"][0].startswith(f"{missing}: System not accessible")


def test_nothing_found_is_a_plain_answer_that_names_the_pattern(flyer):
    answer = discover(flyer)
    assert answer["count"] == 0 and answer["flights"] == [] and answer["success"] is True
    assert "No flight directories found" in answer["message"] and "<Flight>/code/images/*.jpg" in answer["message"]
    assert flyer.create()["flights_discovered"] == 0


def test_when_every_system_fails_the_answer_is_an_error(flyer, tapis):
    tapis.system(flyer.system, owner=flyer.name, has_credentials=False)
    answer = flyer.post("tapis-storage/discover-flights/", None, 403)
    assert answer["success"] is False and answer["error"] == "System not accessible" and flyer.system in answer["detail"]
    missing = "ptdatax.project.missing-" + flyer.name
    answer = flyer.post("tapis-storage/discover-flights/", {"systems": [missing]}, 404)
    assert answer["error"] == "System not accessible" and missing in answer["detail"]


def test_tapis_itself_failing_is_502(flyer, tapis):
    tapis.fault("status", operation="systems", status=500, body='{"message": "down"}')
    answer = flyer.post("tapis-storage/discover-flights/", None, 502)
    assert answer["success"] is False and "500" in answer["detail"]
    assert flyer.call("GET", "tapis-storage/systems/").status_code == 502
    tapis.end_faults()
    tapis.fault("disconnect", operation="systems")
    assert flyer.call("GET", "tapis-storage/systems/").status_code == 502
    tapis.end_faults()
    tapis.fault("status", operation="systems", status=200, body="<html>Maintenance</html>", content_type="text/html")
    assert flyer.call("GET", "tapis-storage/systems/").status_code == 502
