"""The rig API's commands (`docs/makers/openscan-api.md`). Each parses its parameters, calls one function and answers with JSON."""
import json
from typing import Any, Callable, NamedTuple

from django.http import HttpRequest, HttpResponse

from app_extensions.openscan import links
from app_extensions.openscan.accounts import ledger, token_requests
from app_extensions.openscan.accounts.addresses import network_of
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import browser, names, scans
from app_extensions.openscan.models import Token
from app_extensions.openscan.processing import queue, status
from app_extensions.shared.formatting import format_bytes, format_duration

from .auth import UNAUTHORIZED, Caller
from .http import Parameters, answer, method_not_allowed, refusal, rig_view

#: Extensions of the original protocol: `files` of createProject, `missing_parts` of getProjectInfo, `crc32` of uploads.
FEATURES = ("files", "missing_parts", "crc32")


class Call(NamedTuple):
    """One admitted request."""

    caller: Caller
    parameters: Parameters
    base_url: str


def get_token_info(call: Call) -> dict:
    token = call.caller.token()
    ledger.refill(token)
    return {
        "credit": token.credit_bytes,
        "limit_filesize": token.limit_filesize_bytes,
        "limit_photos": token.limit_photos,
        "limit_part": token.limit_part_bytes,
        "kind": token.kind,
        "daily_credit": token.daily_bytes,
        # OpenScan3's page shows these three texts. Tokens do not expire, so there is no date. Revoked ones are refused.
        "message": _about(token),
        "assigned_to": token.person,
        "expires_at": "",
        "features": list(FEATURES),
    }


def _about(token: Token) -> str:
    daily = f"It is topped up to {format_bytes(token.daily_bytes)} every day at 00:00 UTC. " if token.daily_bytes else ""
    return (f"{format_bytes(token.credit_bytes)} of credit left. {daily}A set may have {format_bytes(token.limit_filesize_bytes)} and "
            f"{token.limit_photos:,} photos.")


def create_project(call: Call) -> dict:
    token = call.caller.token()
    client, secret = call.caller.client(token), ""
    if names.needs_secret(token) and not client:
        secret = names.new_secret()
        client = names.identify(secret, "")
    project, files = call.parameters.required("project"), call.parameters.text("files")
    if files:
        scan = browser.create_upload(token, project, _json_list(files), address=client, base_url=call.base_url)
    else:
        scan = scans.create_scan(
            token,
            project,
            photos=call.parameters.integer("photos"),
            parts=call.parameters.integer("parts"),
            filesize_bytes=call.parameters.integer("filesize"),
            address=client,
            base_url=call.base_url,
        )
    given = {"secret": secret} if secret else {}
    return {"status": "created", "ulink": links.upload_links(scan, call.base_url), "credit": scan.held_bytes, **given}


def _json_list(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OpenScanError('The parameter files is not JSON; send a list like [["IMG_0001.JPG", 4000000]].') from error


def start_project(call: Call) -> dict:
    token = call.caller.token()
    scans.start_scan(token, call.parameters.required("project"), call.caller.client(token))
    return {"status": "started"}


def get_project_info(call: Call) -> dict:
    token = call.caller.token()
    return status.project_info(token, call.parameters.required("project"), call.caller.client(token), call.base_url)


def reset_project(call: Call) -> dict:
    token = call.caller.token()
    scans.reset_scan(token, call.parameters.required("project"), call.caller.client(token))
    return {}


def request_token(call: Call) -> dict:
    token_requests.request_token(call.parameters.text("mail"), call.parameters.text("forename"), call.parameters.text("lastname"),
                                 network_of(call.caller.address))
    return {}


def get_queue_estimate(call: Call) -> dict:
    seconds = int(queue.estimate_seconds(call.caller.known_token(), call.caller.address))
    message = f"About {format_duration(seconds)} until processing starts." if seconds > 0 else "Processing starts right away."
    return {"estimated_time_seconds": seconds, "message": message}


def get_status(call: Call) -> dict:
    return {"status": "online"}


COMMANDS: dict[str, Callable[[Call], dict]] = {
    "getTokenInfo": get_token_info,
    "createProject": create_project,
    "startProject": start_project,
    "getProjectInfo": get_project_info,
    "resetProject": reset_project,
    "requestToken": request_token,
    "getQueueEstimate": get_queue_estimate,
    "status": get_status,
}
_METHODS = ["GET", "POST"]


@rig_view
def command_view(request: HttpRequest, command: str = "") -> HttpResponse:
    """Run a command under `/api/plugins/openscan_cloud/` or `/api/openscan/`. Everything else there gets a 404 in JSON.

    Extra slashes are ignored. If a host was typed with a slash at its end, there are two before the command, and WebODM's nginx passes them
    on. A slash after the command must work as well, because WebODM redirects unknown addresses, with the token in the Location.
    """
    run = COMMANDS.get((command or "").strip("/"))
    if run is None:
        return refusal("There is no such command here; the commands are " + ", ".join(sorted(COMMANDS)) + ".", 404)
    if request.method not in _METHODS:
        return method_not_allowed(_METHODS)
    parameters = Parameters(request)
    try:
        caller = Caller(request, parameters)
    except OpenScanError as error:
        response = refusal(error.sentence, error.status)
        if error.status == UNAUTHORIZED:
            response["WWW-Authenticate"] = 'Basic realm="OpenScan Cloud"'
        return response
    return answer(run(Call(caller, parameters, links.base_url(request))))
