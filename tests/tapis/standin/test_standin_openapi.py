"""The stand-in's answers against the OpenAPI specifications that tapipy brings, and through tapipy itself."""
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from jsonschema import Draft7Validator, RefResolver

ODD = "ptdatax.project.ODD-1"


@cache
def specification(name: str) -> dict:
    """One of tapipy's specifications."""
    folder = Path(find_spec("tapipy").submodule_search_locations[0]) / "resources"
    return yaml.load((folder / f"openapi_v3-{name}.yml").read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def without_nulls(value: Any) -> Any:
    """Tapis leaves null what it does not know; the specifications are silent on null."""
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def closed(schema: Any) -> Any:
    """The schema, taking no property that it does not name: the stand-in invents nothing."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(each) for name, each in schema.items()}
    if isinstance(made.get("properties"), dict) and made["properties"] and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


def check(answer: requests.Response, spec_name: str, path: str, method: str = "get") -> Any:
    """Validate an answer. :return: its ``result``"""
    spec = specification(spec_name)
    responses = spec["paths"][path][method]["responses"]
    documented = responses.get(str(answer.status_code)) or responses.get("201")
    assert documented, f"{answer.status_code} is not documented for {path}"
    schema = documented["content"]["application/json"]["schema"]
    if "allOf" in schema:  # envelope and result, written as siblings
        envelope = spec["components"]["schemas"]["BasicResponse"]
        # tapisservice puts `metadata` and `result` into every answer, whatever the specification tells of them
        always = {"metadata": {"type": "object"}, "result": {}}
        properties = {**always, **envelope["properties"], **schema.get("properties", {})}
        schema = {"type": "object", "properties": properties}
    document = closed(spec)
    body = without_nulls(answer.json())
    errors = list(Draft7Validator(closed(schema), resolver=RefResolver("", document)).iter_errors(body))
    assert not errors, [f"{list(each.absolute_path)}: {each.message[:200]}" for each in errors]
    return answer.json()["result"]


@pytest.fixture
def get(lone_tapis):
    """GET with ``tester``'s token."""
    lone_tapis.reset()
    token = lone_tapis.token("tester")

    def call(path: str, **query: Any) -> requests.Response:
        return requests.get(lone_tapis.base + path, params=query, headers={"X-Tapis-Token": token}, timeout=120)

    return call


def test_the_checker_notices_what_is_wrong(get):
    answer = get("/v3/systems", listType="ALL")
    for change in ({"status": 5}, {"result": [{"systemType": "FTP"}]}, {"result": [{"id": ""}]}, {"invented": 1}):
        changed = requests.Response()
        changed.status_code, changed._content = 200, json.dumps({**answer.json(), **change}).encode()
        with pytest.raises(AssertionError):
            check(changed, "systems", "/v3/systems")


def test_tenant(lone_tapis):
    answer = requests.get(f"{lone_tapis.base}/v3/tenants/portals", timeout=120)
    result = check(answer, "tenants", "/v3/tenants/{tenant_id}")
    assert set(specification("tenants")["components"]["schemas"]["Tenant"]["required"]) <= set(result)
    assert len(result["public_key"].splitlines()) == 3, "the PEM's body is not one line"


@pytest.mark.parametrize("status", [200, 201])
def test_tokens_and_revocation(lone_tapis, unique, status):
    lone_tapis.reset()
    lone_tapis.settings(token_status=status)
    key = lone_tapis.client(f"c-{unique}", "http://127.0.0.1/cb")
    pair = lone_tapis.pair("alice", f"c-{unique}")
    answer = requests.post(
        f"{lone_tapis.base}/v3/oauth2/tokens", auth=(f"c-{unique}", key), timeout=120,
        data={"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]["refresh_token"]},
    )
    assert answer.status_code == status
    result = check(answer, "authenticator", "/v3/oauth2/tokens", "post")
    assert {"access_token", "expires_at", "expires_in", "jti"} == set(result["access_token"])
    revoked = requests.post(
        f"{lone_tapis.base}/v3/oauth2/tokens/revoke", json={"token": result["access_token"]["access_token"]}, timeout=120
    )
    check(revoked, "authenticator", "/v3/oauth2/tokens/revoke", "post")


def test_systems(get):
    rows = check(get("/v3/systems", listType="ALL", select="allAttributes", limit=-1), "systems", "/v3/systems")
    assert len(rows) > 5
    one = check(get(f"/v3/systems/{ODD}"), "systems", "/v3/systems/{systemId}")
    assert one["id"] == ODD
    for path, status in (("nothing", 404), ("ptdatax.project.lower-2?select=id", 200)):
        answer = get(f"/v3/systems/{path}")
        assert answer.status_code == status
        check(answer, "systems", "/v3/systems/{systemId}")
    check(get("/v3/systems", search="nonsense"), "systems", "/v3/systems")


def test_listings(get):
    operation = "/v3/files/ops/{systemId}/{path}"
    for path in ("/", "/OddNames/code/images", "/NullMime/code/images", "/Links/code/images", "/FileForImages/code/images"):
        assert check(get(f"/v3/files/ops/{ODD}{path}"), "files", operation)
    for path, status in (("/nowhere", 404), ("/x?recurse=true", 400)):
        answer = get(f"/v3/files/ops/{ODD}{path}")
        assert answer.status_code == status
        check(answer, "files", operation)
    check(get("/v3/files/ops/ptdatax.project.NOCRED-4//"), "files", operation)


def test_tapipy_lists_through_it(lone_tapis):
    """tapipy 1.9 on WebODM's pins, without network: the calls that this project leaves to it."""
    from tapipy.tapis import Tapis

    client = Tapis(base_url=lone_tapis.base, tenant_id="portals", access_token=lone_tapis.token("tester"))
    ids = {row.id for row in client.systems.getSystems(
        listType="ALL", search="(id.like.ptdatax.project.*)", select="id,host,systemType,description,created", limit=-1
    )}
    assert ODD in ids and "ptdatax.projectX" not in ids
    names = [item.name for item in client.files.listFiles(
        systemId=ODD, path="OddNames/code/images", pattern=r"regex:(?i).*\.jpe?g$", limit=1000
    )]
    assert "A.JPG" in names and "ünïcode ☃.jpg" in names
