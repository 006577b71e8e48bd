"""Periodic discovery through a beat that really runs: users get their flights with nobody asking."""
import os
import time

import pytest

from tests.support.flights import Flyer
from tests.support.waiting import until


@pytest.fixture
def beat(stack, running_worker):
    """WebODM's beat with periodic discoveries each one or two seconds; the live worker does the work."""
    stack.extra_env["WO_TAPIS_DISCOVERY_HOURS"] = "0.0004"
    stack.start(["beat"])
    yield stack.services["beat"]
    stack.services.pop("beat").stop()
    del stack.extra_env["WO_TAPIS_DISCOVERY_HOURS"]


def discoveries(flyer):
    from app_extensions.tapis.models import TapisJob

    return list(TapisJob.objects.filter(user=flyer.user, kind=TapisJob.DISCOVERY).values_list("state", flat=True))


def imported(flyer):
    from app_extensions.tapis.models import Flight

    return Flight.objects.filter(user=flyer.user, project_id__isnull=False).count()


def test_users_with_tokens_get_their_flights_with_nobody_asking(stack, tapis, live_db, unique, request):
    from app_extensions.tapis.models import TapisOAuth2Token, TapisPreferences

    assert os.environ.get("WO_TAPIS_DISCOVERY_HOURS") is None
    first, second = Flyer(stack.address(), tapis, "b" + unique), Flyer(stack.address(), tapis, "c" + unique)
    without = Flyer(stack.address(), tapis, "d" + unique, token=False)
    # users of tests that are over are none of this one's
    TapisOAuth2Token.objects.exclude(user__in=[first.user, second.user]).update(is_valid=False, invalid_reason="the test is over")
    for flyer in (first, second, without):
        flyer.flight("Found", 3)
        flyer.flight("Later", 2)
        flyer.post("tapis-preferences/", {"preferred_systems": [flyer.system], "sync_on_discovery": True})
    tapis.fault("slow", operation="list", seconds=0.5)  # the second user's turn comes while the first one's discovery runs
    request.getfixturevalue("beat")
    overlapping = []

    def both_have_theirs():
        for flyer in (first, second):
            overlapping.append(sum(state in ("queued", "running") for state in discoveries(flyer)))
        return all(imported(flyer) == 2 for flyer in (first, second))

    until(both_have_theirs, 120, says=lambda: [discoveries(flyer) for flyer in (first, second)])
    tapis.end_faults()
    assert max(overlapping) <= 1, "one at a time a user"
    # the images followed, as the preferences say
    until(lambda: len(first.files("Found")) == len(second.files("Found")) == 3, 120)
    assert [flyer.get("tapis-storage/flight-projects/")["count"] for flyer in (first, second, without)] == [2, 2, 0]
    # beat runs the job again and again, but the cooldown holds
    log = stack.log_path("beat")
    turns = "Sending due task tapis-periodic-flight-discovery"
    told = log.read_text().count(turns)
    until(lambda: log.read_text().count(turns) >= told + 2, 120)
    assert [len(discoveries(flyer)) for flyer in (first, second)] == [1, 1]
    assert first.get("tapis-preferences/")["preferences"]["last_auto_discovery"] is not None
    # once the cooldown is over, what is new is found
    first.flight("New", 1)
    second.flight("New", 1)
    TapisPreferences.objects.filter(user=first.user).update(discovery_cooldown_hours=0)
    until(lambda: imported(first) == 3, 120)
    TapisPreferences.objects.filter(user=first.user).update(discovery_cooldown_hours=24)
    time.sleep(1)
    assert imported(second) == 2
    assert len(discoveries(second)) == 1
