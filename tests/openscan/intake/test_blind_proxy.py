"""A TLS proxy that is declared and not trusted: every client has its address, so names under public tokens belong to secrets."""
import pytest

from app_extensions.openscan.accounts import addresses
from deploy import doctor, probe
from tests.openscan.helpers import Rig, found_by_checks, own_gunicorn, private_token, public_token, put_part
from tests.support.doctor import SOUND_WEB, sound_facts

BLIND = {"WO_BEHIND_TLS_PROXY": "YES", "WO_OPENSCAN_TRUSTED_PROXIES": ""}


@pytest.fixture(scope="module")
def blind_web(stack):
    with own_gunicorn(stack, "web-blind", workers=1, **BLIND) as service:
        yield service


@pytest.fixture
def rigs(blind_web, live_db) -> "tuple[Rig, Rig]":
    """Two rigs behind the one proxy."""
    text = public_token()[1]
    return Rig(blind_web.address, text), Rig(blind_web.address, text)


def create(rig: Rig, name: str) -> dict:
    answer = rig.get("createProject", project=name, photos=1, parts=1, filesize=3)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_nobody_else_reads_starts_or_resets_a_scan(rigs, unique):
    mine, other = rigs
    created = create(mine, unique)
    assert put_part(created["ulink"][0], b"abc").status_code == 200
    for presented in ({}, {"secret": "guessed"}, {"ulink": created["ulink"][0][:-3] + "xxx"}, {"secret": ""}):
        assert other.get("getProjectInfo", project=unique, **presented).status_code == 401
        assert other.get("startProject", project=unique, **presented).status_code == 400
        assert other.get("resetProject", project=unique, **presented).status_code == 400
        assert other.get("createProject", project=unique, photos=1, parts=1, filesize=3, **presented).status_code == 400
    assert mine.get("getProjectInfo", project=unique, secret=created["secret"]).json()["status"] == "created"


def test_the_secret_or_an_upload_link_opens_all_calls(rigs, unique):
    mine, _ = rigs
    created = create(mine, unique)
    assert "secret" not in mine.get("createProject", project=unique, photos=1, parts=1, filesize=3, secret=created["secret"]).json()
    assert put_part(created["ulink"][0], b"abc").status_code == 200
    assert mine.get("getProjectInfo", project=unique, ulink=created["ulink"]).json()["missing_parts"] == []
    assert mine.get("startProject", project=unique, secret=created["secret"]).json() == {"status": "started"}
    assert mine.get("resetProject", project=unique, ulink=created["ulink"]).json() == {}
    assert mine.get("getProjectInfo", project=unique, secret=created["secret"]).status_code == 401


def test_private_tokens_need_no_secret(blind_web, live_db, unique):
    rig = Rig(blind_web.address, private_token()[1])
    assert "secret" not in create(rig, unique)
    assert rig.info(unique)["status"] == "created"


def test_a_site_whose_addresses_are_known_gives_no_secret(public_rigs, unique):
    assert "secret" not in create(public_rigs[0], unique)


def test_the_check_says_what_to_set_and_lets_the_site_start(manage, ground):
    ground.extra_env.update(BLIND)
    try:
        done = manage("check", check=False)
    finally:
        for name in BLIND:
            ground.extra_env.pop(name)
    assert done.returncode == 0
    assert "openscan.W010" in done.stderr and "WO_OPENSCAN_TRUSTED_PROXIES" in done.stderr


@pytest.mark.parametrize("declared, proxies, blind", [("YES", "", True), ("on", "", True), ("NO", "", False), ("YES", "10.0.0.0/8", False)])
def test_when_addresses_tell_nothing(monkeypatch, settings, declared, proxies, blind):
    monkeypatch.setenv("WO_BEHIND_TLS_PROXY", declared)
    settings.OPENSCAN_TRUSTED_PROXIES = proxies
    assert addresses.is_blind() is blind and ("openscan.W010" in found_by_checks()) is blind


def test_the_doctor_warns_of_it_and_says_what_to_set(monkeypatch, settings, live_db):
    monkeypatch.setenv("WO_BEHIND_TLS_PROXY", "YES")
    settings.OPENSCAN_TRUSTED_PROXIES = ""
    judged = doctor.judge({**sound_facts(), "checks": probe.checks()}, True, SOUND_WEB)
    finding = next(one for one in judged if one.name == "openscan.W010")
    assert finding.level == doctor.WARNING and "WO_OPENSCAN_TRUSTED_PROXIES" in finding.mend
