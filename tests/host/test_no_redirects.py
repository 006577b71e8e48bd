"""No address of ours is redirected to one with a slash: the Location would repeat `?token=`, and a POST would lose its body."""
import pytest
import requests

from tests.openscan.helpers import BASIC, Rig, private_token, put_part

COMMANDS = ["getTokenInfo", "createProject", "startProject", "getProjectInfo", "resetProject", "requestToken", "getQueueEstimate", "status"]
OTHERS = [
    "/api/openscan", "/api/plugins/openscan_cloud", "/openscan", "/api/openscan/health", "/api/openscan/metrics",
    "/api/plugins/openscan_cloud/health", "/api/plugins/openscan_cloud/metrics", "/api/openscan/u/1.1.1.x", "/api/openscan/download/1.zip",
    "/api/oauth2/tapis", "/api/oauth2/tapis/authorize/x", "/api/oauth2/tapis/callback", "/api/oauth2/tapis/link",
    "/api/oauth2/tapis/disconnect", "/api/oauth2/tapis/status", "/api/oauth2/tapis/refresh/x", "/api/oauth2/tapis/revoke/x",
    "/api/tapis-storage/systems", "/api/tapis-storage/jobs", "/api/tapis-storage/jobs/x", "/api/tapis-preferences",
    "/api/tapis-discovery/trigger",
]


@pytest.mark.parametrize("root", ["/api/openscan/", "/api/plugins/openscan_cloud/"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_the_same_with_and_without_a_slash(stack, root, command):
    answers = [requests.get(f"{stack.address()}{root}{command}{end}", params={"token": "SECRET" * 5}, auth=BASIC, timeout=120,
                            allow_redirects=False) for end in ("", "/")]
    assert answers[0].status_code == answers[1].status_code != 404
    assert not any("Location" in answer.headers for answer in answers)
    assert answers[0].json().get("error") == answers[1].json().get("error")


@pytest.mark.parametrize("path", OTHERS)
@pytest.mark.parametrize("end", ["", "/"])
def test_no_secret_of_a_query_comes_back_in_a_location(stack, path, end):
    answer = requests.get(stack.address() + path + end, params={"token": "SECRETSECRET", "jwt": "SECRETSECRET", "code": "SECRETSECRET"},
                          timeout=120, allow_redirects=False)
    assert "SECRETSECRET" not in answer.headers.get("Location", "")


def test_a_part_is_taken_at_its_link_with_a_slash(stack, live_db, unique):
    rig = Rig(stack.address(), private_token()[1])
    link, = rig.create(unique, 3)
    assert put_part(link + "/", b"abc").status_code == 200
    assert rig.info(unique)["missing_parts"] == []
