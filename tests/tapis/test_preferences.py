"""``/api/tapis-preferences/``: defaults, each key alone, validation."""
import pytest

DEFAULTS = {
    "auto_discover_on_login": True, "max_projects_per_discovery": 50, "discovery_cooldown_hours": 24,
    "notify_on_discovery_complete": True, "notify_on_discovery_errors": True, "preferred_systems": [],
    "last_auto_discovery": None, "sync_on_discovery": False, "process_after_sync": False, "processing_preset": "",
}


@pytest.fixture
def fresh(flyer):
    from app_extensions.tapis.models import TapisPreferences

    TapisPreferences.objects.filter(user=flyer.user).delete()
    return flyer


def test_defaults(fresh):
    answer = fresh.get("tapis-preferences/")
    assert answer == {"success": True, "preferences": DEFAULTS} and list(answer["preferences"]) == list(DEFAULTS)


@pytest.mark.parametrize("key, value", [
    ("auto_discover_on_login", False), ("max_projects_per_discovery", 7), ("discovery_cooldown_hours", 0),
    ("notify_on_discovery_complete", False), ("notify_on_discovery_errors", False),
    ("preferred_systems", ["ptdatax.project.A", "ptdatax.project.b"]), ("last_auto_discovery", "2024-01-01T12:00:00+00:00"),
    ("sync_on_discovery", True), ("process_after_sync", True), ("processing_preset", "Fast Orthophoto"),
])
def test_each_key_is_settable_alone(fresh, key, value):
    answer = fresh.post("tapis-preferences/", {key: value})
    assert answer == {"success": True, "preferences": {**DEFAULTS, key: value}}
    assert fresh.get("tapis-preferences/")["preferences"] == {**DEFAULTS, key: value}


@pytest.mark.parametrize("key, value", [
    ("auto_discover_on_login", "yes"), ("auto_discover_on_login", None), ("auto_discover_on_login", 1),
    ("max_projects_per_discovery", 0), ("max_projects_per_discovery", "50"), ("max_projects_per_discovery", 1.5),
    ("max_projects_per_discovery", True), ("discovery_cooldown_hours", -1), ("discovery_cooldown_hours", 10**9),
    ("preferred_systems", "ptdatax.project.A"), ("preferred_systems", ["elsewhere"]), ("preferred_systems", [None]),
    ("last_auto_discovery", "yesterday"), ("last_auto_discovery", "2024-13-45T00:00:00Z"), ("last_auto_discovery", 5),
    ("last_auto_discovery", "2999-01-01T00:00:00Z"), ("last_auto_discovery", "0001-01-01T00:00:00+12:00"),
    ("processing_preset", "No Such Preset"), ("processing_preset", 5), ("favourite_colour", "blue"),
])
def test_a_value_that_does_not_fit_is_refused_by_name_and_changes_nothing(fresh, key, value):
    answer = fresh.post("tapis-preferences/", {"sync_on_discovery": False, key: value}, 400)
    assert answer["success"] is False and key in answer["detail"]
    assert fresh.get("tapis-preferences/")["preferences"] == DEFAULTS


def test_each_field_that_does_not_fit_is_told(fresh):
    answer = fresh.post("tapis-preferences/", {
        "max_projects_per_discovery": 0, "preferred_systems": ["ptdatax.project.A", "elsewhere"], "sync_on_discovery": False}, 400)
    assert answer["field"] == "max_projects_per_discovery"
    assert answer["fields"] == {"max_projects_per_discovery": "must be a whole number from 1 to 10000",
                                "preferred_systems[1]": "must be a system id that starts with ptdatax.project."}
    assert all(field in answer["detail"] for field in answer["fields"])
    assert fresh.get("tapis-preferences/")["preferences"] == DEFAULTS


@pytest.mark.parametrize("body", [None, {}, [], "text"])
def test_nothing_to_set_is_refused(fresh, body):
    assert fresh.call("POST", "tapis-preferences/", body).status_code == 400
