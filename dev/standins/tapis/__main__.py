"""``python -m dev.standins.tapis``: serve the stand-in Tapis until it is stopped."""
import argparse
import signal
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

from . import CLIENT_ID, CLIENT_SECRET, TENANT, control, files, oauth2, systems
from .flights import lay_out
from .http import Handler, Server, tapis_json
from .world import World


def routes(request: Handler) -> None:
    """Tell by method and path who answers."""
    path = request.raw_path
    if path.startswith("/_"):
        return control.control(request, path[2:].strip("/"))
    method = request.command
    exact = {
        ("GET", "/v3/oauth2/authorize"): oauth2.authorize, ("POST", "/v3/oauth2/login"): oauth2.login,
        ("POST", "/v3/oauth2/tokens"): oauth2.tokens, ("POST", "/v3/oauth2/tokens/revoke"): oauth2.revoke,
        ("GET", "/v3/oauth2/userinfo"): oauth2.userinfo, ("GET", "/v3/systems"): systems.listing,
    }.get((method, path.rstrip("/")))
    if exact:
        return exact(request)
    # Percent-decoded only here, after splitting: an encoded slash is no separator between system and path.
    for prefix, answer in (("/v3/files/ops/", files.listing), ("/v3/files/content/", files.content)):
        if method == "GET" and path.startswith(prefix):
            system_id, _, below = path[len(prefix):].partition("/")
            return answer(request, unquote(system_id), unquote(below))
    for prefix, answer in (("/v3/tenants/", oauth2.tenant), ("/v3/systems/", systems.one)):
        if method == "GET" and path.startswith(prefix):
            return answer(request, unquote(path[len(prefix):].strip("/")))
    raise tapis_json(404, f"No route: {method} {path}")


def main() -> int:
    """Parse the command line and serve. :return: exit code"""
    parser = argparse.ArgumentParser(prog="python -m dev.standins.tapis", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--data", type=Path, required=True, help="where the key and the registered clients are kept")
    parser.add_argument("--flights", type=Path, required=True, help="directories of JPEG files, see flights.py")
    parser.add_argument("--latency-ms", type=float, default=0, help="added to every answer")
    parser.add_argument("--tenant", default=TENANT)
    parser.add_argument("--base-url", help="what it calls itself (default: http://HOST:PORT)")
    parser.add_argument("--client-id", default=CLIENT_ID, help="the client that is registered at start")
    parser.add_argument("--client-key", default=CLIENT_SECRET)
    parser.add_argument("--callback-url", default="http://127.0.0.1:8000/api/oauth2/tapis/callback/")
    options = parser.parse_args()

    base_url = options.base_url or f"http://{options.host}:{options.port}"
    world = World(options.data, base_url.rstrip("/"), options.tenant)
    world.settings["latency_ms"] = options.latency_ms
    world.add_client(options.client_id, options.callback_url, options.client_key)
    lay_out(world, options.flights)
    server = Server((options.host, options.port), world, routes)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"Tapis stand-in, tenant {world.tenant}: {world.base_url}", flush=True)
    server.serve_forever(poll_interval=0.2)
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
