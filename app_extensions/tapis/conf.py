"""The settings of the Tapis app. ``conf.NAME`` is the current value. ``docs/admin/settings.md`` is generated from this file."""
import re

from app_extensions.host import celery_queue
from app_extensions.shared.settings import Setting, Settings, integer, number, parse_text, size, switch, text

_DAY = 86400
_YEAR_HOURS = 366 * 24


def parse_tiles(value: str) -> str:
    """Check the address of map tiles. Empty for `none`. Raises ValueError."""
    address = parse_text(value)
    if address.lower() == "none":
        return ""
    # Its origin goes into an HTTP header, so only the characters of an address are allowed.
    if not re.fullmatch(r"https?://[A-Za-z0-9.:{}\[\]-]+/[A-Za-z0-9._~/?&=%@{}-]*", address, re.ASCII):
        raise ValueError(f"{value!r} is neither an address such as https://tile.example.org/{{z}}/{{x}}/{{y}}.png nor none")
    if not all(part in address for part in ("{z}", "{x}", "{y}")):
        raise ValueError(f"{value!r} lacks {{z}}, {{x}} or {{y}}")
    return address


class Conf(Settings):
    """Every setting of the Tapis app."""

    prefix = "TAPIS_"
    keep_unit = True

    base_url = Setting("https://portals.tapis.io", lambda value: parse_text(value).rstrip("/"), "Address of Tapis for a new client.")
    tenant_id = text("portals", "Tenant of a new client.")
    create_users = switch(True, "Whether a Tapis user who is new here gets a WebODM user, in WebODM's default group.")
    allowed_users = text(
        "", "Tapis users who get a WebODM account at their first login: names or `user@tenant`, separated by commas, `*` as a wildcard. "
        "Empty: nobody. Users who have a WebODM account can always link it.")
    bearer_clients = text(
        "any", "Which Tapis tokens count as `Bearer`: `any` of the tenant, or `own`: those issued to a client that is registered here.")
    discover_on_login = switch(True, "Default of the preference `auto_discover_on_login`: whether a login looks for new flights.")
    fetch = switch(False, "Default of the preference `sync_on_discovery`: whether images of new projects are fetched without asking.")
    process = switch(False, "Default of the preference `process_after_sync`: whether complete flights are processed without asking.")
    connect_timeout = number(10.0, "Seconds to wait for a connection to Tapis.", 0, 3600)
    timeout = number(30.0, "Seconds without a byte from Tapis before a call is given up.", 0, _DAY)
    refresh_below = integer(600, "An access token with fewer seconds of life left than this is refreshed.", 0, _DAY)
    key_seconds = integer(3600, "Seconds after which a tenant's public key is fetched again.", 0, 30 * _DAY)
    leeway = integer(30, "Seconds by which clocks may differ when a token's times are checked.", 0, _DAY)
    system_prefix = text("ptdatax.project.", "Start of the ids of systems that hold flights.")
    listing_connections = integer(16, "Directory listings at once in one discovery.", 1, 1000)
    listing_seconds = number(
        900.0, "Seconds that the listings of one sync, or of one discovery by the command, may take. What was not read is reported.",
        1, _DAY)
    flight_connections = integer(4, "Downloads at once for one flight, over all workers.", 1, 1000)
    instance_connections = integer(8, "Downloads at once for the whole WebODM.", 1, 1000)
    sync_workers = integer(2, "Celery jobs that share the sync of one flight.", 1, 1000)
    workers = integer(4, "Celery tasks of ours that work on discoveries and syncs at the same time, over all workers.", 1, 1000)
    answer_seconds = number(
        60.0, "Seconds that a request waits for its discovery before it answers 202 with what there is so far.", 0, 3600)
    settle_seconds = number(60.0, "Seconds for which a flight must not have changed at Tapis before it counts as complete.", 0, _DAY)
    batch_seconds = number(
        60.0, "Seconds after which a discovery or a sync lets its Celery worker do other work. It continues in another turn.", 1, _DAY)
    lease_seconds = number(60.0, "Seconds without a sign of life before a worker counts as dead and others fetch its files.", 2, _DAY)
    retry_seconds = number(0.5, "Longest first wait before a failed call is tried again. Each further wait doubles.", 0, 3600)
    disk_reserve_bytes = size("1GB", "Disk space that a sync leaves free in WebODM's media directory.")
    map_tiles = Setting(
        "https://tile.openstreetmap.org/{z}/{x}/{y}.png", parse_tiles,
        "Pictures behind the map of a flight, by their address with `{z}`, `{x}` and `{y}`. Browsers fetch them, so the server that has "
        "them sees which places people look at. `none`: the map shows the points alone.")
    map_attribution = text("© OpenStreetMap contributors", "What the map says of where its pictures come from. Only text, no HTML.")
    discovery_hours = number(0.0, "Hours between periodic discoveries for every user with tokens. 0: none.", 0, _YEAR_HOURS)
    sync_hours = number(0.0, "Hours between periodic syncs of every flight. 0: none.", 0, _YEAR_HOURS)
    stagger_seconds = number(
        30.0, "Seconds between the periodic discoveries of two users, so that they do not reach Tapis at once.", 0, _DAY)
    queue = Setting(
        "", lambda value: parse_text(value) or celery_queue.queue_name(),
        "Celery queue of syncs and discoveries. Empty: the queue of all our jobs, `WO_EXTENSIONS_QUEUE`.",
    )


conf = Conf()
