"""Contract, "Routes, CSRF, authentication": where a plugin's views answer, and to whom."""
import concurrent.futures

import pytest
import requests

WRITES = ("POST", "PUT")


def forbidden_by_csrf(answer: requests.Response) -> bool:
    return answer.status_code == 403 and "CSRF" in answer.text and answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("view", ["echo/x", "exempt", "open", "basic"])
def test_api_mounts_are_csrf_checked_whatever_the_view_says(probe, method, view):
    answer = requests.request(method, f"{probe.url}/api/plugins/contract_probe/{view}", data=b"x")
    assert forbidden_by_csrf(answer)


@pytest.mark.parametrize("method", WRITES)
def test_app_mounts_are_csrf_checked(probe, method):
    assert forbidden_by_csrf(requests.request(method, f"{probe.url}/plugins/contract_probe/exempt", data=b"x"))


def test_api_mounts_are_csrf_checked_with_basic_and_jwt(probe):
    url = f"{probe.url}/api/plugins/contract_probe/basic"
    assert forbidden_by_csrf(requests.post(url, auth=probe.admin))
    token = requests.post(f"{probe.url}/api/token-auth/", data=dict(zip(("username", "password"), probe.admin))).json()["token"]
    assert forbidden_by_csrf(requests.post(url, headers={"Authorization": f"JWT {token}"}))


@pytest.mark.parametrize("view", ["echo/x", "exempt", "open"])
def test_api_mounts_answer_get(probe, view):
    answer = requests.get(f"{probe.url}/api/plugins/contract_probe/{view}")
    assert answer.status_code == 200
    assert answer.json()["method"] == "GET"


@pytest.mark.parametrize("method", WRITES)
def test_browsers_with_a_session_pass_api_mounts(probe, method):
    session = probe.session()
    url = f"{probe.url}/api/plugins/contract_probe/exempt"
    assert session.request(method, url).json()["method"] == method
    del session.headers["X-CSRFToken"]
    assert forbidden_by_csrf(session.request(method, url))


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("view", ["echo/x", "open"])
def test_root_mounts_take_writes(probe, method, view):
    answer = requests.request(method, f"{probe.url}/contract-probe/{view}", data=b"x")
    assert answer.status_code == 200
    assert answer.json()["method"] == method


def test_api_patterns_do_not_start_with_a_caret(probe):
    assert requests.get(f"{probe.url}/api/plugins/contract_probe/caret").status_code == 404


def test_patterns_match_by_prefix_without_a_dollar(probe):
    assert requests.get(f"{probe.url}/api/plugins/contract_probe/prefix-and/more").status_code == 200
    assert requests.get(f"{probe.url}/contract-probe/prefix-and/more").status_code == 200
    assert requests.get(f"{probe.url}/contract-probe/open/more").status_code == 404


def test_root_mounts_cannot_shadow_existing_routes(probe):
    answer = requests.get(f"{probe.url}/api/projects/")
    assert answer.status_code in (401, 403)
    assert "method" not in answer.json()


def test_the_tapis_prefix_is_free(probe):
    assert requests.get(f"{probe.url}/api/tapis-storage/contract-probe").status_code == 200


def test_root_mounts_are_there_in_every_worker_after_a_restart(probe):
    """`manage.py check` before gunicorn has written the plugins' rows, so no worker's URLconf misses them."""
    def ask(_):
        return requests.get(f"{probe.url}/contract-probe/open")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["pid"] for answer in answers}) > 1


def test_api_mounts_see_the_encoded_path_and_root_mounts_the_decoded(probe):
    path = "a%20b%C3%A9"
    api = requests.get(f"{probe.url}/api/plugins/contract_probe/echo/{path}").json()
    root = requests.get(f"{probe.url}/contract-probe/echo/{path}").json()
    assert api["rest"] == path
    assert root["rest"] == "a bé"
    assert root["full_path"].endswith(path)


def test_a_view_without_queryset_or_permissions_is_a_500(probe):
    session = probe.session()
    assert session.get(f"{probe.url}/contract-probe/defaults").status_code == 500


def test_octet_stream_with_a_session_is_415(probe):
    """DRF's CSRF check for sessions looks into the form, and no default parser takes these bytes."""
    url, headers = f"{probe.url}/contract-probe/session", {"Content-Type": "application/octet-stream"}
    assert requests.post(url, data=b"x", headers=headers).status_code == 200
    assert probe.session().post(url, data=b"x", headers=headers).status_code == 415


def test_wrong_basic_is_403_by_default_and_401_where_basic_comes_first(probe):
    wrong = (probe.admin[0], "wrong")
    assert requests.get(f"{probe.url}/contract-probe/jwt", auth=wrong).status_code == 403
    assert requests.get(f"{probe.url}/api/projects/", auth=wrong).status_code == 403
    assert requests.get(f"{probe.url}/contract-probe/basic", auth=wrong).status_code == 401


def token_of(probe) -> str:
    name, password = probe.admin
    answer = requests.post(f"{probe.url}/api/token-auth/", data={"username": name, "password": password})
    assert answer.status_code == 200
    return answer.json()["token"]


@pytest.mark.parametrize("place", ["/contract-probe/jwt", "/api/plugins/contract_probe/jwt"])
def test_jwt_is_taken_from_its_header_and_from_the_query_and_bearer_is_not(probe, place):
    token, url = token_of(probe), probe.url + place
    assert requests.get(url, headers={"Authorization": f"JWT {token}"}).json()["authenticated"]
    assert requests.get(url, params={"jwt": token}).json()["authenticated"]
    ignored = requests.get(url, headers={"Authorization": f"Bearer {token}"})
    assert (ignored.status_code, ignored.json()["authenticated"]) == (200, False)


def test_a_wrong_jwt_is_refused(probe):
    answer = requests.get(f"{probe.url}/contract-probe/jwt", headers={"Authorization": "JWT nonsense"})
    assert answer.status_code in (401, 403)


def test_task_views_check_only_that_the_project_may_be_viewed(probe, tasks, make_user):
    task = tasks.make()
    viewer, stranger = make_user(), make_user()
    tasks.run(task, "from django.contrib.auth.models import User\nfrom guardian.shortcuts import assign_perm\n"
                    "assign_perm('view_project', User.objects.get(username=viewer), task.project)", viewer=viewer[0])
    url = f"{probe.url}/contract-probe/task/{task}"
    assert requests.get(url).status_code == 404
    assert probe.session(stranger).get(url).status_code == 404
    assert probe.session(viewer).post(url).status_code == 200  # a POST, by somebody who may only look


def test_task_views_check_nothing_on_public_tasks(probe, tasks):
    task = tasks.make(public=True)
    assert requests.post(f"{probe.url}/contract-probe/task/{task}").status_code == 200


def test_djangos_test_client_hides_the_csrf_403(probe):
    codes = probe.shell(
        "from django.test import Client\n"
        "url = '/api/plugins/contract_probe/exempt'\n"
        "result = [Client(enforce_csrf_checks=checks).post(url, HTTP_HOST='localhost').status_code for checks in (False, True)]")
    assert codes == [200, 403]


def test_public_assets_and_pages_of_a_plugin(probe):
    assert requests.get(f"{probe.url}/plugins/contract_probe/probe.js").text.strip() == "window.contractProbe = true;"
    page = probe.session().get(f"{probe.url}/plugins/contract_probe/page").text
    assert "the probe&#39;s page" in page or "the probe's page" in page
    assert "Contract probe menu" in page
    assert "/plugins/contract_probe/probe.js" in page
