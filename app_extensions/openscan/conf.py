"""The settings of the OpenScan app. ``conf.NAME`` is the current value. ``docs/admin/settings.md`` is generated from this file."""
import ipaddress
import re
from typing import Optional, Union
from urllib.parse import urlsplit

from app_extensions.host import celery_queue
from app_extensions.shared.settings import (
    Setting,
    Settings,
    integer,
    parse_bytes,
    parse_switch,
    parse_text,
    parse_words,
    size,
    switch,
    text,
    words,
)

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_MANY = 1_000_000
_YEAR_MINUTES = 366 * 1440


def parse_networks(value: "Union[str, list[str], tuple[str, ...]]") -> "list[Network]":
    """Parse networks in CIDR notation, separated by commas or spaces. Raises ValueError."""
    return [ipaddress.ip_network(name, strict=False) for name in parse_words(value)]


def _parse_url(value: str) -> str:
    return parse_text(value).rstrip("/")


def _parse_verify(value: Union[str, bool]) -> Union[bool, str]:
    try:
        return parse_switch(value)
    except ValueError:
        return str(value).strip()


def _parse_prefix(value: str) -> str:
    text = str(value).strip().strip("/")
    return f"{text}/" if text else ""


def _parse_numbers(value: Union[str, "dict[str, int]"]) -> "dict[str, int]":
    if isinstance(value, dict):
        return value
    found = {}
    for entry in filter(None, (entry.strip() for entry in value.split(","))):
        name, equals, number = entry.rpartition("=")
        if not equals or not name.strip() or not re.fullmatch(r"\s*[0-9]{1,4}\s*", number, re.ASCII):
            raise ValueError(f"{entry!r} is not like node.example.org:3000=2")
        found[name.strip()] = int(number)
    return found


class Conf(Settings):
    """Every setting of the OpenScan app."""

    prefix = "OPENSCAN_"

    basic_user = text("openscan", "User name of HTTP Basic for the rig API. OpenScan3's page resets to `openscan`.")
    basic_password = text("free", "Password of HTTP Basic for the rig API. It is public by design: the token is what counts.")
    public_url = Setting(
        "", _parse_url,
        "Start of every link that we hand out (`https://scan.example.org`; a path may follow), without a slash at the end. "
        "Empty: the address that the request came to.",
    )
    limit_filesize_bytes = size("2GB", "Largest declared size of a set, for new tokens.", least=1)
    limit_photos = integer(2000, "Most photos in a set, for new tokens.", 1, _MANY)
    limit_part_bytes = size("200MB", "Largest upload part, for new tokens. Clients in the field cut their archives to 200 MB.", least=1)
    private_credit_bytes = size("50GB", "Credit of a new private token if none is given.")
    public_daily_bytes = size("10GB", "Amount that a new public token is topped up to at 00:00 UTC.")
    upload_link_seconds = integer(4 * 3600, "How long upload links are valid.", 1, 366 * 86400)
    upload_idle_seconds = integer(60, "An upload that sends nothing for this long is cut off.", 1, 86400)
    unstarted_hours = integer(
        24, "How long a scan that was created and never started keeps its parts and its held credit. Renewed links do not make this "
        "longer.", 1, 366 * 24)
    transfers_per_process = integer(
        32, "How many uploads and downloads one web server process takes at a time; more get 503 and may try again. Keep gunicorn's "
        "`--threads` at least 8 above it, so that all other calls are answered meanwhile.", 1, 10_000)
    result_days = integer(7, "How long a result can be downloaded.", 1, 36_600)
    free_reserve_bytes = size("1GB", "Disk space that uploads must leave free.")
    bind_public_names = switch(True, "Whether a scan's name under a public token belongs to the client address that created it.")
    public_share = integer(25, "Percent of a public token's daily credit that one client address may hold and use up per day.", 1, 100)
    public_hold_minutes = integer(
        60, "How long a public token's credit stays set aside for a scan before its first byte arrives.", 1, _YEAR_MINUTES)
    open_scans = integer(
        50, "How many created scans one client may have that are not read in yet, per token. A client is an address under a public token, "
        "and the holder of a private one.", 1, _MANY)
    open_scans_per_token = integer(
        1000, "How many created scans all clients of a public token together may have that are not read in yet.", 1, _MANY)
    calls_per_day = integer(2000, "createProject calls that one client may make per day (UTC) and token.", 1, _MANY)
    refusals_per_day = integer(
        20, "Scans of one client that may be refused per day (UTC) and token. After that, the client can create none until the next day.",
        1, _MANY)
    trusted_proxies = Setting(
        "", parse_networks,
        "Networks whose X-Forwarded-For header is believed. Loopback and the local socket of WebODM's own nginx always are. Give the "
        "network of a TLS proxy in front of WebODM (`172.16.0.0/12`).",
    )
    token_requests_per_hour = integer(5, "requestToken calls per hour from one client address (IPv6: from one /48 network).", 1, _MANY)
    token_requests_total_per_hour = integer(60, "requestToken calls per hour from everybody together.", 1, _MANY)
    token_request_mail_minutes = integer(60, "Admins get at most one email about new token requests in this time.", 1, _YEAR_MINUTES)
    address_days = integer(
        0, "How many days after a scan ended we keep its client's address. After that, a keyed fingerprint keeps its name bound to the "
        "client.", 0, 36_600)
    refused_days = integer(90, "How many days after a refusal we delete the request with the person's name and email address.", 0, 36_600)
    mail_days = integer(
        30, "How many days we keep the record of an email that was sent or given up. Its text is deleted at once.", 0, 36_600)
    self_service_tokens = integer(
        0, "How many private tokens a WebODM user may make on the tokens page, each with the usual credit. 0: only administrators make "
        "tokens.", 0, 1000)
    public_token = text("", "Text of a public token that `/openscan/public/` shows to everybody. Empty: there is no such page.")
    default_owner = text("", "WebODM user who owns the projects of tokens without an owner of their own. Empty: the oldest superuser.")
    storage_dir = text("", "Directory for parts and results, seen by web server and worker. Empty: `openscan` in WebODM's media directory.")
    preset = text("OpenScan object", "WebODM preset for scans. Options that a node does not know are left out.")
    tasks_per_node = integer(1, "How many scans a processing node gets at a time. The others wait in our own queue.", 1, 9999)
    tasks_per_cluster = integer(
        4, "How many scans a ClusterODM gets at a time if it reports no limit. It does not say how many machines it has.", 1, 9999)
    node_tasks = Setting(
        "", _parse_numbers,
        "How many scans single nodes get at a time, by WebODM's label or by `host:port` (`gpu box=2, cluster.example.org:3000=8`). "
        "0 keeps scans off a node.",
    )
    node_attempts = integer(
        3, "How many attempts a scan gets if processing nodes fail. 1: it is never given to another node.", 1, 100)
    silent_minutes = integer(
        15, "A node that does not answer for a running scan for this long counts as dead, and another one gets the scan.", 1, _YEAR_MINUTES)
    stalled_minutes = integer(
        240, "If a running scan makes no progress and prints nothing for this long, another node gets it. 0: never.", 0, _YEAR_MINUTES)
    node_rest_minutes = integer(10, "How long a node gets no scans after it failed one through its own fault.", 0, _YEAR_MINUTES)
    least_photos = integer(2, "Fewest usable photos that are worth processing.", 1, _MANY)
    unpacked_bytes = size("20GB", "Most that one archive may unpack to.", least=1)
    merge_focus_stacks = switch(
        True, "Whether frames of a focus stack (`scan01_001_fs00.jpg` …) are merged into one sharp photo per position.")
    merge_minutes = integer(120, "CPU time for merging one set's focus stacks. Positions beyond it get their sharpest frame.", 1, 10_000)
    ingest_attempts = integer(8, "How often we try to read a set before it fails through our fault.", 1, 1000)
    support_mail = text("", "Where replies to our emails go (Reply-To). Empty: to the sender, `WO_SMTP_FROM`.")
    admin_mails = words("", "Who is notified of token requests. Empty: every active WebODM administrator with an email address.")
    celery_queue = Setting(
        "", lambda value: parse_text(value) or celery_queue.queue_name(),
        "Celery queue of OpenScan's jobs. Empty: the queue of all our jobs, `WO_EXTENSIONS_QUEUE`.",
    )
    s3_bucket = text("", "Bucket for results and for the archive of public sets. Empty: everything stays in the file system.")
    s3_endpoint = Setting("", _parse_url, "Address of an S3-compatible storage (`https://minio.example.org:9000`). Empty: Amazon.")
    s3_public_endpoint = Setting(
        "", _parse_url, "The address at which downloading clients reach the same storage, if it differs. Empty: `S3_ENDPOINT`.")
    s3_region = text("", "Region of the bucket. Empty: what Amazon's configuration says, else `us-east-1`.")
    s3_access_key = text("", "Access key id. Empty: Amazon's own chain (its environment variables, files, the machine's role).")
    s3_secret_key = text("", "Secret that belongs to the access key.")
    s3_prefix = Setting("openscan/", _parse_prefix, "Start of every key, so that a bucket can be shared. `/` for none.")
    s3_addressing = Setting(
        "auto", lambda value: parse_text(value).lower(),
        "`path` (`host/bucket/key`), `virtual` (`bucket.host/key`), or `auto`: path with an endpoint, virtual with Amazon.",
    )
    s3_verify = Setting("YES", _parse_verify, "`YES`, `NO`, or a file with the certificates of the authority that signed the endpoint's.")
    s3_presign_seconds = Setting(
        3600, int, "How long a download may begin or be resumed at the storage before the client must ask for our link again.")
    s3_part_bytes = Setting("16MB", parse_bytes, "Size of the parts of an upload. Each is held in memory while it is sent.")
    s3_abort_hours = Setting(24, int, "Hours after which an incomplete upload is given up and its parts are removed.")
    s3_research = switch(True, "Whether public sets, whose senders agreed to research, are archived in the bucket.")


def public_url_problem(url: str) -> Optional[str]:
    """Why upload links cannot begin with `url`, or None if they can. Upload links reach a shell unquoted."""
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it must start with http:// or https:// and name a host"
    if not re.fullmatch(r"[A-Za-z0-9/_.:-]+", url):
        return "only the characters A-Z a-z 0-9 / _ . : - survive OpenScan2's shell"
    if len(url) > 70:
        return f"it has {len(url)} characters; upload links stay below 120 only with 70 or fewer"
    return None


conf = Conf()
