"""Answers of Tapis that are no error and still not what is documented: never a 500, and nothing of one system spoils another."""
import pytest

GEOJSON = {"title": "The survey's title", "outline": {"type": "Polygon", "coordinates": [[[-97.1, 27.8], [-97.0, 27.9], [-97.1, 27.8]]]}}


def test_notes_of_any_form_are_borne(flyer, tapis):
    """tapipy makes no objects of lists within lists: the outline of one shared system would take all systems away."""
    flyer.flight("Good", 2)
    shared = tapis.system("ptdatax.project.outline-" + flyer.name, owner="someone", shared_with=[flyer.name], notes=GEOJSON)
    odd = tapis.system("ptdatax.project.odd-" + flyer.name, owner="someone", shared_with=[flyer.name], notes={"title": [[1], [2]]})
    found = {system["id"]: system["description"] for system in flyer.get("tapis-storage/systems/")["systems"]}
    assert found == {flyer.system: "A test system", shared: "The survey's title", odd: ""}
    assert flyer.post("tapis-storage/discover-flights/")["count"] == 1


@pytest.mark.parametrize("body", [
    '{"result": [[1, 2], [3]]}', '{"result": [1, 2]}', '[{"id": 5}]', '{"result": [{"id": 5}]}', '{"result": {"id": "x"}}', '"text"',
    '{"result": [{"id": "ptdatax.project.x", "host": {"name": 1}}]}', "not JSON",
])
def test_a_list_of_systems_of_another_form_is_502(flyer, tapis, body):
    tapis.fault("status", operation="systems", user=flyer.name, status=200, body=body)
    for method, path in (("GET", "systems"), ("POST", "discover-flights")):
        answer = flyer.call(method, f"tapis-storage/{path}/")
        assert answer.status_code == 502, answer.text
        assert answer.json()["error"] == "System not accessible" and "cannot be read" in answer.json()["detail"]


@pytest.mark.parametrize("entry", [
    '{"name": 5, "path": "x", "type": "dir"}', '{"name": "x", "path": "x", "type": "dir", "size": "many"}', '{"path": "x"}',
    '{"name": ["x"], "path": "x", "type": "dir"}', '{"name": "x", "path": [1], "type": "dir"}', '{"name": "x", "path": "x", "type": 3}',
])
def test_a_listing_of_another_form_is_named_with_its_system(flyer, tapis, entry):
    flyer.flight("Good", 2)
    other = tapis.system("ptdatax.project.odd-" + flyer.name, owner=flyer.name)
    tapis.fault("status", operation="list", path=f"^{other}/", status=200, body='{"result": [' + entry + "]}")
    answer = flyer.post("tapis-storage/discover-flights/")
    assert [flight["flight_name"] for flight in answer["flights"]] == ["Good"]
    assert len(answer["errors"]) == 1 and answer["errors"][0].startswith(f"{other}: ") and "cannot be read" in answer["errors"][0]


def test_a_listing_waits_as_long_as_tapis_asks(flyer, tapis, monkeypatch):
    from app_extensions.tapis.catalog import listing
    from app_extensions.tapis.login.access import TapisAccess

    waited = []
    monkeypatch.setattr(listing, "pause", lambda seconds, stopped=None: waited.append(seconds))
    tapis.fault("status", operation="systems", user=flyer.name, status=429, times=1, headers={"Retry-After": "7"})
    assert len(listing.TapisListing(TapisAccess(flyer.user, flyer.client)).systems()) == 1
    assert waited == [7.0]
