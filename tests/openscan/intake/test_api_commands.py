"""The rig API's commands over live gunicorn, line by line of the wire contract, at both base addresses."""
import base64
import re
import string

import pytest
import requests
from django.db import connection

from app_extensions.openscan.accounts import books, ledger, tokens
from app_extensions.openscan.models import LedgerEntry, Scan, Token, TokenRequest
from tests.openscan.helpers import BASIC, MB, Rig, in_processes, new_scan, private_token, public_token, put_part, refused

ROOTS = ["/api/openscan/", "/api/plugins/openscan_cloud/"]
COMMANDS = ["getTokenInfo", "createProject", "startProject", "getProjectInfo", "resetProject", "requestToken",
            "getQueueEstimate", "status"]


@pytest.fixture(params=ROOTS)
def any_rig(request, rig: Rig) -> Rig:
    """The rig at each of the two base addresses."""
    rig.root = rig.root.replace(ROOTS[0], request.param)
    return rig


class TestAuthentication:
    @pytest.mark.parametrize("root", ROOTS)
    @pytest.mark.parametrize("command", COMMANDS)
    def test_without_credentials_every_command_is_401(self, stack, command, root):
        answer = requests.get(stack.address() + root + command, timeout=120)
        refused(answer, 401, "Basic")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")

    @pytest.mark.parametrize("header", [
        "Basic " + base64.b64encode(b"openscan:wrong").decode(), "Basic " + base64.b64encode(b"admin:free").decode(),
        "Basic !!!", "Basic", "Basic \xe4", "Bearer", "Bearer nonsense", "Bearer " + "a" * 32, "JWT abc", "Digest x"])
    def test_wrong_credentials_are_401(self, stack, header):
        refused(requests.get(stack.address() + ROOTS[0] + "status", headers={"Authorization": header.encode("latin-1")},
                             timeout=120), 401)

    def test_webodms_own_login_does_not_open_the_rig_api(self, stack):
        login = (stack.config["admin_user"], stack.config["admin_password"])
        refused(requests.get(stack.address() + ROOTS[0] + "status", auth=login, timeout=120), 401)

    def test_a_valid_token_as_bearer_needs_no_basic_and_no_parameter(self, rig):
        answer = requests.get(rig.root + "getTokenInfo", headers={"Authorization": f"bearer {rig.token}"}, timeout=120)
        assert answer.status_code == 200 and answer.json()["kind"] == "private"

    def test_a_revoked_token_as_bearer_is_401_and_as_parameter_400(self, rig):
        tokens.revoke(tokens.find_token(rig.token))
        refused(requests.get(rig.root + "getTokenInfo", headers={"Authorization": f"Bearer {rig.token}"}, timeout=120),
                401, "revoked")
        refused(rig.get("getTokenInfo"), 400, "revoked")


class TestGetTokenInfo:
    def test_integers_in_bytes_and_no_key_that_breaks_a_client(self, any_rig):
        answer = any_rig.get("getTokenInfo")
        assert answer.status_code == 200
        info = answer.json()
        for key, value in {"credit": 10**12, "limit_filesize": 2_000_000_000, "limit_photos": 2000}.items():
            assert type(info[key]) is int and info[key] == value
        assert "error" not in info and "splitsize" not in info and info.get("status", "ok") == "ok"

    @pytest.mark.parametrize("token, words", [
        ("", ["missing"]), ("a" * 32, ["not known"]), ("short", ["not known"]), ("***abcd", ["masked"]),
        ("a" * 31 + "\x00", ["not known"]), ("ä" * 32, ["not known"]), ("a" * 9000, ["not known"])])
    def test_a_bad_token_is_400_and_says_why(self, any_rig, token, words):
        any_rig.token = token
        refused(any_rig.get("getTokenInfo"), 400, *words)

    def test_a_missing_token_is_400(self, rig):
        refused(requests.get(rig.root + "getTokenInfo", auth=BASIC, timeout=120), 400, "missing")

    def test_the_token_never_comes_back_in_an_error(self, rig):
        secret = tokens.generate()
        assert secret not in requests.get(rig.root + "getTokenInfo", params={"token": secret}, auth=BASIC, timeout=120).text


class TestCreateProject:
    def test_answers_created_with_as_many_links_as_parts(self, any_rig, unique):
        answer = any_rig.get("createProject", project=unique, photos=3, parts=7, filesize=1000)
        assert answer.status_code == 200
        content = answer.json()
        assert content["status"] == "created" and content["credit"] == 1000 and type(content["credit"]) is int
        assert len(content["ulink"]) == len(set(content["ulink"])) == 7

    def test_links_survive_an_unquoted_shell(self, stack, rig, unique):
        for link in rig.create(unique, 2_000_000_000, parts=12):
            assert re.fullmatch(r"[A-Za-z0-9/_.:-]+", link) and len(link) <= 120
            assert link.startswith(stack.address() + "/api/openscan/u/")

    def test_again_while_created_renews_the_links_and_charges_once(self, rig, unique):
        token = tokens.find_token(rig.token)
        rig.create(unique, 1000, parts=2)
        assert len(rig.create(unique, 1000, parts=5)) == 5
        assert rig.get("getTokenInfo").json()["credit"] == 10**12 - 1000
        assert LedgerEntry.objects.filter(token=token, kind="hold").count() == 1

    def test_again_with_another_size_holds_the_new_size(self, rig, unique):
        rig.create(unique, 1000)
        rig.create(unique, 400)
        assert rig.get("getTokenInfo").json()["credit"] == 10**12 - 400

    def test_again_with_the_same_cut_keeps_what_was_received(self, rig, unique):
        first = rig.create(unique, 10, parts=2)
        assert put_part(first[0], b"12345").status_code == 200
        again = rig.create(unique, 10, parts=2)
        assert rig.info(unique)["missing_parts"] == [2]
        assert put_part(again[1], b"67890").status_code == 200
        assert rig.get("startProject", project=unique).status_code == 200

    def test_another_cut_drops_the_received_slices_and_ends_the_old_links(self, rig, unique):
        first = rig.create(unique, 10, parts=2)
        put_part(first[0], b"12345")
        rig.create(unique, 10, parts=1)
        assert rig.info(unique)["missing_parts"] == [1]
        assert put_part(first[0], b"12345").status_code == 404

    def test_once_started_it_is_400(self, rig, unique):
        put_part(rig.create(unique, 3)[0], b"abc")
        rig.get("startProject", project=unique)
        refused(rig.get("createProject", project=unique, photos=1, parts=1, filesize=3), 400, "reset")

    @pytest.mark.parametrize("name", ["photos", "parts", "filesize", "project"])
    def test_a_missing_parameter_is_400_and_named(self, any_rig, unique, name):
        parameters = {"project": unique, "photos": 1, "parts": 1, "filesize": 10}
        del parameters[name]
        refused(any_rig.get("createProject", **parameters), 400, name, "missing")

    @pytest.mark.parametrize("name", ["photos", "parts", "filesize"])
    @pytest.mark.parametrize("value", ["0", "-1", "1.5", "abc", "1e3", "NaN", "9" * 400, "٣", "1_0", "\x00", "", " "])
    def test_a_number_that_is_none_is_400(self, rig, unique, name, value):
        parameters = {"project": unique, "photos": 1, "parts": 1, "filesize": 10, name: value}
        refused(rig.get("createProject", **parameters), 400)
        assert not Scan.objects.filter(name=unique).exists()

    @pytest.mark.parametrize("project", [" ", "a\x00b", "a\nb", "x" * 256, "x" * 100_000, "\x7f", "a\u202eb", "\u2066a"])
    def test_a_name_that_cannot_be_kept_is_400(self, rig, project):
        refused(rig.get("createProject", project=project, photos=1, parts=1, filesize=10), 400)

    @pytest.mark.parametrize("project", ["Vase blau – ä/ö", "../../etc/passwd", "a&b?c#d;e f", "x" * 255, "日本語", "%2e%2e"])
    def test_any_other_name_will_do_and_never_enters_a_url(self, rig, unique, project):
        name = (project + unique)[-255:]
        for link in rig.create(name, 10):
            assert re.fullmatch(r"[A-Za-z0-9/_.:-]+", link)
        assert rig.info(name)["status"] == "created"
        rig.get("resetProject", project=name)

    def test_the_limits_are_enforced_with_asked_and_allowed(self, rig, unique):
        good = {"project": unique, "photos": 1, "parts": 20, "filesize": 1000}
        refused(rig.get("createProject", **{**good, "filesize": 2_000_000_001}), 400, "2,000,000,001", "2,000,000,000")
        refused(rig.get("createProject", **{**good, "photos": 2001}), 400, "2,001", "2,000")
        refused(rig.get("createProject", **{**good, "parts": 1, "filesize": 200_000_001}), 400, "at least 2")
        refused(rig.get("createProject", **{**good, "parts": 2001, "filesize": 10**6}), 400, "2,001", "2,000")
        refused(rig.get("createProject", **{**good, "parts": 20, "filesize": 19}), 400, "more parts than bytes")

    def test_the_limits_themselves_are_allowed(self, rig, unique):
        assert len(rig.create(unique, 2_000_000_000, parts=10, photos=2000)) == 10

    def test_not_enough_credit_is_400_with_what_is_left(self, stack, live_db, unique):
        rig = Rig(stack.address(), private_token(999)[1])
        refused(rig.get("createProject", project=unique, photos=1, parts=1, filesize=1000), 400, "1,000 bytes", "999 bytes")
        assert not Scan.objects.filter(name=unique).exists()

    def test_a_token_without_a_webodm_user_is_told_so(self, rig, unique):
        Token.objects.filter(pk=tokens.find_token(rig.token).pk).update(owner_id=2**31 - 1)
        refused(rig.get("createProject", project=unique, photos=1, parts=1, filesize=10), 400, "WebODM user")

    def test_two_tokens_may_use_the_same_name(self, stack, rig, unique):
        other = Rig(stack.address(), private_token()[1])
        rig.create(unique, 10)
        other.create(unique, 20)
        assert rig.info(unique)["filesize"] == 10 and other.info(unique)["filesize"] == 20


class TestStartProject:
    def test_answers_started_and_again_without_doubling(self, any_rig, unique):
        put_part(any_rig.create(unique, 3)[0], b"abc")
        for _ in range(3):
            answer = any_rig.get("startProject", project=unique)
            assert (answer.status_code, answer.json()) == (200, {"status": "started"})
        assert Scan.objects.filter(name=unique).count() == 1
        assert LedgerEntry.objects.filter(scan__name=unique, kind="hold").count() == 1

    def test_missing_parts_are_400_and_it_stays_created(self, any_rig, unique):
        links = any_rig.create(unique, 9, parts=3)
        put_part(links[1], b"abc")
        refused(any_rig.get("startProject", project=unique), 400, "2 of 3", "1, 3")
        assert any_rig.info(unique)["status"] == "created"

    def test_sizes_that_do_not_add_up_are_400_and_it_stays_created(self, rig, unique):
        put_part(rig.create(unique, 10)[0], b"abc")
        refused(rig.get("startProject", project=unique), 400, "3 bytes", "10 bytes")
        assert rig.info(unique)["status"] == "created"

    def test_an_unknown_or_missing_project_is_400(self, any_rig, unique):
        refused(any_rig.get("startProject", project=unique), 400)
        refused(any_rig.get("startProject"), 400, "project")


class TestGetProjectInfo:
    def test_has_the_three_keys_from_the_start(self, any_rig, unique):
        links = any_rig.create(unique, 10, parts=2)
        info = any_rig.info(unique)
        assert (info["dlink"], info["status"], info["ulink"]) == ("", "created", links)
        assert info["missing_parts"] == [1, 2]

    def test_lists_missing_parts(self, rig, unique):
        put_part(rig.create(unique, 10, parts=3)[1], b"abc")
        info = rig.info(unique)
        assert info["missing_parts"] == [1, 3] and info["received"] == 3

    def test_an_unknown_project_is_401_and_a_bad_token_400(self, any_rig, unique):
        refused(any_rig.get("getProjectInfo", project=unique), 401, "not known")
        refused(any_rig.get("getProjectInfo", project="a\x00b"), 401)
        refused(any_rig.get("getProjectInfo"), 400, "project")
        any_rig.token = "b" * 32
        refused(any_rig.get("getProjectInfo", project=unique), 400)

    def test_an_expired_scan_says_so_without_links(self, rig, unique):
        rig.create(unique, 10)
        Scan.objects.filter(name=unique).update(state=Scan.EXPIRED)
        info = rig.info(unique)
        assert (info["dlink"], info["status"], info["ulink"]) == ("", "expired", [])


class TestResetProject:
    def test_is_idempotent_also_for_an_unknown_project(self, any_rig, unique):
        any_rig.create(unique, 10)
        for _ in range(2):
            answer = any_rig.get("resetProject", project=unique)
            assert (answer.status_code, answer.json()) == (200, {})
        assert any_rig.get("resetProject", project="never " + unique).json() == {}
        for name in ("a\x00b", "a\u202eb", "x" * 256, "x" * 3000):
            assert any_rig.get("resetProject", project=name).status_code == 200

    def test_afterwards_it_is_unknown_and_the_name_free_and_the_credit_back(self, rig, unique):
        links = rig.create(unique, 1000)
        put_part(links[0], b"abc")
        rig.get("resetProject", project=unique)
        refused(rig.get("getProjectInfo", project=unique), 401)
        assert rig.get("getTokenInfo").json()["credit"] == 10**12
        refused(put_part(links[0], b"abc"), 410)
        rig.create(unique, 500)
        assert rig.info(unique)["missing_parts"] == [1]

    def test_a_bad_token_is_400(self, any_rig, unique):
        any_rig.token = "c" * 32
        refused(any_rig.get("resetProject", project=unique), 400)


class TestRequestToken:
    def ask(self, rig: Rig, **fields: str) -> requests.Response:
        return rig.session.get(rig.root + "requestToken", params=fields, timeout=120)

    def test_creates_one_request_an_address_and_answers_alike(self, any_rig, unique):
        any_rig.session.headers["X-Forwarded-For"] = f"2001:db8:{unique[:4]}:{unique[4:8]}::1"
        person = {"mail": f"{unique}@Example.org", "forename": "Grace", "lastname": "Hopper"}
        first, second = self.ask(any_rig, **person), self.ask(any_rig, **{**person, "mail": person["mail"].upper()})
        assert (first.status_code, first.json()) == (second.status_code, second.json()) == (200, {})
        request = TokenRequest.objects.get(mail=f"{unique}@example.org")
        assert (request.times_asked, request.state, request.surname) == (2, "pending", "Hopper")

    @pytest.mark.parametrize("change", [{"mail": ""}, {"mail": "nobody"}, {"mail": "a@b\x00c.org"}, {"forename": " "},
                                        {"lastname": ""}, {"lastname": "x" * 101}, {"forename": "a\nb"},
                                        {"mail": "a" * 300 + "@example.org"}])
    def test_unusable_fields_are_400(self, any_rig, unique, change):
        refused(self.ask(any_rig, **{"mail": f"{unique}@example.org", "forename": "A", "lastname": "B", **change}), 400)
        assert not TokenRequest.objects.filter(mail__startswith=unique).exists()

    def test_one_address_may_not_ask_without_end(self, rig, unique):
        rig.session.headers["X-Forwarded-For"] = f"2001:db8:{unique[:4]}:{unique[4:8]}::1"
        answers = [self.ask(rig, mail=f"{number}{unique}@example.org", forename="A", lastname="B") for number in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [400]
        refused(answers[-1], 400, "try again later")


class TestTheRest:
    def test_status_is_online(self, any_rig):
        answer = any_rig.session.get(any_rig.root + "status", timeout=120)
        assert (answer.status_code, answer.json()) == (200, {"status": "online"})

    @pytest.mark.parametrize("token", [None, "", "wrong", "valid"])
    def test_the_queue_estimate_is_an_integer_with_and_without_a_token(self, any_rig, token):
        parameters = {} if token is None else {"token": any_rig.token if token == "valid" else token}
        answer = any_rig.session.get(any_rig.root + "getQueueEstimate", params=parameters, timeout=120)
        assert answer.status_code == 200
        assert type(answer.json()["estimated_time_seconds"]) is int

    def test_post_as_form_json_and_chunks_at_the_root_mount(self, rig, unique):
        url, fields = rig.root + "createProject", {"token": rig.token, "project": unique, "photos": 1, "parts": 2, "filesize": 9}
        for body in ({"data": fields}, {"json": fields}, {"files": {key: (None, str(value)) for key, value in fields.items()}}):
            answer = requests.post(url, auth=BASIC, timeout=120, **body)
            assert answer.status_code == 200 and len(answer.json()["ulink"]) == 2, answer.text
        chunks = iter([f"token={rig.token}&project={unique}&pho".encode(), b"tos=1&parts=2&filesize=9"])
        answer = requests.post(url, auth=BASIC, timeout=120, data=chunks,
                               headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"token": {"a": 1}}', b"\xff\xfe", b"[" * 100_000,
                                      b'{"token": "\\ud800", "project": "\\ud800"}', b"1" * 2_000_000])
    def test_broken_json_is_400_or_413(self, rig, body):
        answer = requests.post(rig.root + "createProject", auth=BASIC, data=body, timeout=120,
                               headers={"Content-Type": "application/json"})
        refused(answer, 413 if len(body) > 1_000_000 else 400)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_json_as_windows_writes_it(self, rig, encoding):
        body = f'{{"token": "{rig.token}"}}'.encode(encoding)
        answer = requests.post(rig.root + "getTokenInfo", auth=BASIC, data=body, timeout=120, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200, answer.text

    def test_a_multipart_form_in_chunks(self, rig):
        form = requests.Request("POST", rig.root, files={"token": (None, rig.token)}).prepare()
        answer = requests.post(rig.root + "getTokenInfo", auth=BASIC, data=iter([form.body[:30], form.body[30:]]), timeout=120,
                               headers={"Content-Type": form.headers["Content-Type"].replace("multipart", "Multipart")})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; x=\"boundary=\"",
                                      "multipart/form-data; boundary=\xe4", "multipart/form-data; boundary=" + "x" * 300])
    def test_a_multipart_form_without_a_good_boundary_is_400(self, rig, kind):
        answer = requests.post(rig.root + "getTokenInfo", auth=BASIC, data=b"--x\r\n", timeout=120,
                               headers={"Content-Type": kind.encode("latin-1")})
        refused(answer, 400, "multipart")

    @pytest.mark.parametrize("pair", [None, BASIC])
    def test_files_sent_to_a_command_are_not_kept(self, stack, rig, pair):
        """Whoever may not even log in must not fill the disk: WebODM's own upload handler keeps files for a day."""
        directory = stack.data / "media" / "tmp"
        kept = set(directory.glob("*"))
        for size in (900_000, 6_000_000):
            form = {"token": (None, rig.token), "set": ("set.zip", b"x" * size)}
            answer = requests.post(rig.root + "getTokenInfo", auth=pair, files=form, timeout=120)
            assert answer.status_code == (413 if size > 1_000_000 else 200 if pair else 401), answer.text
        assert set(directory.glob("*")) <= kept

    def test_a_lone_surrogate_in_a_name_is_400(self, rig):
        answer = requests.post(rig.root + "createProject", auth=BASIC, timeout=120, headers={"Content-Type": "application/json"},
                               data=f'{{"token": "{rig.token}", "project": "\\ud800", "photos": 1, "parts": 1, "filesize": 9}}')
        refused(answer, 400, "name")

    def test_unknown_and_repeated_parameters_are_ignored(self, rig, unique):
        query = [("token", rig.token), ("project", unique), ("photos", "1"), ("parts", "1"), ("filesize", "9"),
                 ("parts", "junk"), ("token", "junk"), *(("partslist", f"/tmp/{n}") for n in range(300)), ("folder", "C:\\x")]
        answer = requests.get(rig.root + "createProject", params=query, auth=BASIC, timeout=120)
        assert answer.status_code == 200 and len(answer.json()["ulink"]) == 1

    def test_request_lines_of_60_kilobytes_are_taken(self, any_rig, unique):
        answer = any_rig.get("createProject", project=unique, photos=1, parts=1, filesize=9,
                             filelist=[f"IMG_{number:05}.JPG" for number in range(3000)])
        assert len(answer.request.url) > 60_000 and answer.status_code == 200

    @pytest.mark.parametrize("path", ["", "x", "Status", "u", "u/", "a/b/c", "%00", "%ff%fe", "status%0a", "..%2f",
                                      "<script>", "x" * 8000, "download/", "download/nonsense.zip"])
    def test_anything_else_below_the_root_mount_is_404_in_json(self, stack, path):
        answer = requests.get(stack.address() + "/api/openscan/" + path, auth=BASIC, timeout=120, allow_redirects=False)
        assert answer.status_code in (404, 405), answer.text
        refused(answer, answer.status_code)

    def test_an_address_typed_with_a_slash_at_its_end_will_do(self, any_rig):
        """Clients put a slash between host and command, whether the host ends in one or not."""
        answer = any_rig.session.get(any_rig.root + "/getTokenInfo", params={"token": any_rig.token}, timeout=120, allow_redirects=False)
        assert answer.status_code == 200, answer.text

    def test_the_bare_root_is_404_without_a_redirect(self, stack):
        refused(requests.get(stack.address() + "/api/openscan", timeout=120, allow_redirects=False), 404)

    def test_unknown_commands_are_404_in_json_at_the_plugin_mount_too(self, stack):
        for path in ("", "nonsense", "a/b"):
            refused(requests.get(stack.address() + ROOTS[1] + path, auth=BASIC, timeout=120, allow_redirects=False), 404)

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"])
    def test_other_methods_are_405_in_json(self, stack, method):
        answer = requests.request(method, stack.address() + "/api/openscan/status", auth=BASIC, timeout=120)
        assert answer.status_code == 405 and answer.headers["Allow"] == "GET, POST"
        assert answer.headers["Content-Type"].startswith("application/json")

    @pytest.mark.parametrize("query", ["token=%00", "token=%ff%fe", "project=%ed%a0%80", "&&&==;", "token[]=1", "%00=%00",
                                       "photos=" + "9" * 5000, "=" * 5000])
    @pytest.mark.parametrize("command", COMMANDS)
    def test_garbage_is_never_a_5xx(self, rig, command, query):
        for prefix in ("", f"token={rig.token}&"):
            answer = requests.get(f"{rig.root}{command}?{prefix}{query}", auth=BASIC, timeout=120)
            assert answer.status_code < 500, answer.text
            assert answer.headers["Content-Type"].startswith("application/json")

    def test_answers_are_not_cached(self, rig):
        assert rig.get("getTokenInfo").headers["Cache-Control"] == "no-store"


class TestPublicTokens:
    def test_a_name_belongs_to_the_address_that_created_it(self, public_rigs, unique):
        mine, other = public_rigs
        mine.create(unique, 1000)
        refused(other.get("getProjectInfo", project=unique), 401)
        for command in ("startProject", "resetProject"):
            refused(other.get(command, project=unique), 400, "taken")
        refused(other.get("createProject", project=unique, photos=1, parts=1, filesize=9), 400, "taken")
        assert mine.info(unique)["filesize"] == 1000
        assert mine.get("resetProject", project=unique).status_code == 200
        other.create(unique, 9)
        refused(mine.get("getProjectInfo", project=unique), 401)

    def test_what_a_client_writes_left_of_its_address_is_not_believed(self, public_rigs, unique):
        mine, other = public_rigs
        mine.create(unique, 9)
        other.session.headers["X-Forwarded-For"] = "198.51.100.7, 198.51.100.8"
        refused(other.get("getProjectInfo", project=unique), 401)

    def test_private_tokens_are_not_bound(self, rig, unique):
        rig.session.headers["X-Forwarded-For"] = "198.51.100.7"
        rig.create(unique, 9)
        rig.session.headers["X-Forwarded-For"] = "198.51.100.8"
        assert rig.info(unique)["status"] == "created"

    def test_a_set_carries_the_consent_to_research(self, public_rigs, rig, unique):
        public_rigs[0].create(unique, 9)
        rig.create("p" + unique, 9)
        assert Scan.objects.get(name=unique).research_consent is True
        assert Scan.objects.get(name="p" + unique).research_consent is False

    def test_a_new_day_fills_it_when_it_is_asked_for(self, stack, live_db):
        token, text = public_token(100 * MB)
        ledger.post(new_scan(token), 10 * MB)
        rig = Rig(stack.address(), text)
        assert rig.get("getTokenInfo").json()["credit"] == 90 * MB
        Token.objects.filter(pk=token.pk).update(refilled_on="2020-01-01")  # as if its first filling was long ago
        with connection.cursor() as cursor:
            cursor.execute("UPDATE openscan_ledgerentry SET key = 'long ago ' || id WHERE token_id = %s AND kind = 'refill'",
                           [token.pk])
        assert rig.get("getTokenInfo").json()["credit"] == 100 * MB


def create_once(work: tuple) -> int:
    server, token, project, parts = work
    return Rig(server, token).get("createProject", project=project, photos=1, parts=parts, filesize=100).status_code


def start_once(work: tuple) -> int:
    server, token, project = work
    return Rig(server, token).get("startProject", project=project).status_code


class TestAtTheSameTime:
    def test_one_project_created_eight_times_is_charged_once(self, stack, rig, unique):
        answers = in_processes(create_once, [(stack.address(), rig.token, unique, 1 + n % 3) for n in range(8)])
        assert answers == [200] * 8
        scan = Scan.objects.get(name=unique)
        assert rig.info(unique)["missing_parts"] == list(range(1, scan.parts_count + 1)) and scan.held_bytes == 100
        assert rig.get("getTokenInfo").json()["credit"] == 10**12 - 100

    def test_one_project_started_eight_times_is_started_once(self, stack, rig, unique):
        put_part(rig.create(unique, 3)[0], b"abc")
        assert in_processes(start_once, [(stack.address(), rig.token, unique)] * 8) == [200] * 8
        assert Scan.objects.filter(name=unique).count() == 1

    def test_credit_for_one_is_not_given_to_two(self, stack, live_db, unique):
        token, text = private_token(150)
        answers = in_processes(create_once, [(stack.address(), text, f"{unique}{n}", 1) for n in range(8)])
        assert sorted(answers) == [200] + [400] * 7
        token.refresh_from_db()
        assert token.credit_bytes == 50 and books.find_discrepancies([token]) == []


def test_tokens_are_32_letters_and_digits():
    assert {len(tokens.generate()) for _ in range(100)} == {32}
    assert set("".join(tokens.generate() for _ in range(1000))) == set(string.ascii_letters + string.digits)
