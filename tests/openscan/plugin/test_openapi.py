"""The OpenAPI document against the commands, and against the live server by schemathesis."""
import base64
import subprocess
from pathlib import Path

import pytest
import yaml

from app_extensions.openscan.models import Token
from tests.openscan.helpers import Rig, private_token

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs" / "makers" / "openapi.yaml"
SCHEMATHESIS = ROOT / ".venv" / "clients" / "bin" / "schemathesis"


@pytest.fixture(scope="module")
def document() -> dict:
    return yaml.safe_load(DOCUMENT.read_text())


def schema_of(document: dict, command: str) -> dict:
    schema = document["paths"][f"/{command}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    return document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def test_the_document_names_every_command_and_no_other(document):
    from plugins.openscan_cloud.views.commands import COMMANDS

    links = {"/u/{link}", "/download/{link}.zip"}
    assert links < set(document["paths"])
    assert {path.strip("/") for path in document["paths"] if path not in links} == set(COMMANDS)


def test_answers_have_exactly_the_documented_keys(document, rig, unique):
    answers = {
        "createProject": rig.get("createProject", project=unique, photos=1, parts=2, filesize=9).json(),
        "getTokenInfo": rig.get("getTokenInfo").json(), "getProjectInfo": rig.info(unique),
        "status": rig.get("status").json(), "getQueueEstimate": rig.get("getQueueEstimate").json(),
    }
    kinds = {"integer": int, "string": str, "array": list, "number": (int, float)}
    for command, answer in answers.items():
        properties = schema_of(document, command)["properties"]
        assert set(answer) == set(properties) - {"secret"}, command  # only where the site cannot tell its clients apart
        for key, value in answer.items():
            assert isinstance(value, kinds[properties[key]["type"]]) and not isinstance(value, bool), (command, key)


def run_schemathesis(rig: Rig, examples: int) -> None:
    if not SCHEMATHESIS.exists():
        pytest.skip("schemathesis is not installed; ./webodm.sh test installs it")
    pair = base64.b64encode(b"openscan:free").decode()
    done = subprocess.run(
        [str(SCHEMATHESIS), "run", str(DOCUMENT), "--base-url", rig.root.rstrip("/"), "-H", f"Authorization: Basic {pair}",
         "--set-query", f"token={rig.token}", "--hypothesis-derandomize", "--hypothesis-max-examples", str(examples),
         "--hypothesis-suppress-health-check", "all", "--checks",
         "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
         "response_headers_conformance", "--request-timeout", "30000"],
        capture_output=True, text=True, timeout=1500, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.fixture
def asking_rig(stack, live_db) -> Rig:
    token, text = private_token(10**15)
    Token.objects.filter(pk=token.pk).update(limit_photos=50)
    return Rig(stack.address(), text)


def test_schemathesis_finds_nothing_in_a_short_run(asking_rig):
    run_schemathesis(asking_rig, examples=5)


@pytest.mark.long
def test_schemathesis_finds_nothing_in_a_long_run(asking_rig):
    run_schemathesis(asking_rig, examples=1000)
