"""The settings of the Tapis app. ``conf.NAME`` is the current value. ``docs/admin/settings.md`` is generated from this file."""
import re

from app_extensions.host import celery_queue
from app_extensions.shared.settings import Setting, Settings, integer, number, parse_text, size, switch, text

_DAY = 86400
_YEAR_HOURS = 366 * 24


def parse_tiles(value: str) -> str:
    """The address of map tiles; empty for `none`. Raises ValueError."""
    address = parse_text(value)
    if address.lower() == "none":
        return ""
    # Its origin goes into a header, so only characters of an address are allowed.
    if not re.fullmatch(r"https?://[A-Za-z0-9.:{}\[\]-]+/[A-Za-z0-9._~/?&=%@{}-]*", address, re.ASCII):
        raise ValueError(f"{value!r} is neither an address such as https://tile.example.org/{{z}}/{{x}}/{{y}}.png nor none")
    if not all(part in address for part in ("{z}", "{x}", "{y}")):
        raise ValueError(f"{value!r} lacks {{z}}, {{x}} or {{y}}")
    return address


class Conf(Settings):
    """Every setting of the Tapis app."""

    prefix = "TAPIS_"
    keep_unit = True

    base_url = Setting("https://portals.tapis.io", lambda value: parse_text(value).rstrip("/"), "Address of Tapis for new clients.")
    tenant_id = text("portals", "Tenant for new clients.")
    create_users = switch(True, "Whether a Tapis user who logs in for the first time gets a WebODM user, in WebODM's default group.")
    allowed_users = text(
        "", "Tapis users who get a WebODM account at their first login: names or `user@tenant`, separated by commas, `*` as a wildcard. "
        "Empty: nobody. Users who have a WebODM account can always link it.")
    bearer_clients = text(
        "any", "Which Tapis tokens are accepted as `Bearer`: `any` token of the tenant, or `own` for those of a client registered here.")
    discover_on_login = switch(True, "Default of the preference `auto_discover_on_login`: whether a login looks for new flights.")
    fetch = switch(False, "Default of the preference `sync_on_discovery`: whether images of new projects are fetched without asking.")
    process = switch(False, "Default of the preference `process_after_sync`: whether complete flights are processed without asking.")
    connect_timeout = number(10.0, "Seconds to wait for a connection to Tapis.", 0, 3600)
    timeout = number(30.0, "Seconds without a byte from Tapis before a call is given up.", 0, _DAY)
    refresh_below = integer(600, "An access token that is valid for fewer seconds than this is refreshed.", 0, _DAY)
    key_seconds = integer(3600, "Seconds after which a tenant's public key is fetched again.", 0, 30 * _DAY)
    leeway = integer(30, "Seconds by which clocks may differ when the times in a token are checked.", 0, _DAY)
    system_prefix = text("ptdatax.project.", "Start of the ids of systems that hold flights.")
    listing_connections = integer(16, "How many directories one discovery lists at the same time.", 1, 1000)
    listing_seconds = number(
        900.0, "Seconds that the listings of one sync, or of one discovery by the command, may take. Unread directories are reported.",
        1, _DAY)
    flight_connections = integer(4, "How many files of one flight are downloaded at the same time, by all workers together.", 1, 1000)
    instance_connections = integer(8, "How many files are downloaded at the same time in the whole WebODM.", 1, 1000)
    sync_workers = integer(2, "Celery jobs that share the sync of one flight.", 1, 1000)
    workers = integer(4, "How many of our Celery tasks work on discoveries and syncs at the same time, in all workers together.", 1, 1000)
    answer_seconds = number(
        60.0, "Seconds that a request waits for its discovery before it answers 202 with the flights found so far.", 0, 3600)
    settle_seconds = number(60.0, "A flight counts as complete if it has not changed at Tapis for this many seconds.", 0, _DAY)
    batch_seconds = number(
        60.0, "Seconds after which a discovery or sync gives way to other work of its Celery worker. It continues in a later turn.",
        1, _DAY)
    lease_seconds = number(60.0, "Seconds without a sign of life after which a worker counts as dead and others fetch its files.", 2, _DAY)
    retry_seconds = number(0.5, "Maximum first wait before a failed call is repeated, in seconds. Each further wait doubles.", 0, 3600)
    disk_reserve_bytes = size("1GB", "Disk space that a sync leaves free in WebODM's media directory.")
    map_tiles = Setting(
        "https://tile.openstreetmap.org/{z}/{x}/{y}.png", parse_tiles,
        "Address of the map tiles behind a flight's points, with `{z}`, `{x}` and `{y}`. Browsers fetch the tiles, so the tile server "
        "sees which places people look at. `none`: the map shows only the points.")
    map_attribution = text("© OpenStreetMap contributors", "Credit for the map tiles that the map shows. Text only, no HTML.")
    discovery_hours = number(0.0, "Hours between periodic discoveries for every user with tokens. 0: none.", 0, _YEAR_HOURS)
    sync_hours = number(0.0, "Hours between periodic syncs of every flight. 0: none.", 0, _YEAR_HOURS)
    stagger_seconds = number(
        30.0, "Seconds between the periodic discoveries of two users, so that they do not reach Tapis at once.", 0, _DAY)
    queue = Setting(
        "", lambda value: parse_text(value) or celery_queue.queue_name(),
        "Celery queue of syncs and discoveries. Empty: the queue of all our jobs, `WO_EXTENSIONS_QUEUE`.",
    )


conf = Conf()
