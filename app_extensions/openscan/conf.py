"""The settings of the OpenScan app: one property a setting, each with a safe default.

A value comes from the Django setting `OPENSCAN_<NAME>` if there is one, else from the environment variable
`WO_OPENSCAN_<NAME>`, else from the default. Sizes are bytes and may be written "200000000", "200MB" or "10GB" (10⁹).
"""
import ipaddress
import os
import re
from typing import Any, Optional, Union
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def parse_bytes(text: Union[str, int]) -> int:
    """`text` ("2000000000", "1.5 GB") as a number of bytes. Raises ValueError where it is none."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,6})?)\s*([a-zA-Z]{0,2})\s*", str(text), re.ASCII)
    if not match or match.group(2).lower() not in _UNITS:
        raise ValueError(f"{text!r} is not a number of bytes; write 500000000, 500MB or 10GB")
    number, unit = match.group(1), _UNITS[match.group(2).lower()]
    whole, _, fraction = number.partition(".")
    return int(whole) * unit + (int(fraction.ljust(6, "0")) * unit // 10**6 if fraction else 0)


def _parse_bool(text: Union[str, bool]) -> bool:
    if isinstance(text, bool):
        return text
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither YES nor NO")


class Conf:
    """Reads the settings when asked, so that tests and overrides see the value of the moment."""

    def _raw(self, name: str, default: Any) -> Any:
        key = f"OPENSCAN_{name}"
        if hasattr(settings, key):
            return getattr(settings, key)
        return os.environ.get(f"WO_{key}", default)

    def _get(self, name: str, default: Any, parse: Any) -> Any:
        value = self._raw(name, default)
        if value == "" and default != "":
            value = default
        try:
            return parse(value)
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"WO_OPENSCAN_{name}: {error}") from error

    @property
    def basic_user(self) -> str:
        """User name of HTTP Basic for the rig API; OpenScan3's page resets to `openscan`."""
        return self._get("BASIC_USER", "openscan", str)

    @property
    def basic_password(self) -> str:
        """Password of HTTP Basic for the rig API. It is public by design: the token is what counts."""
        return self._get("BASIC_PASSWORD", "free", str)

    @property
    def public_url(self) -> str:
        """Base of every absolute link (`https://scan.example.org`, a path may follow), without a slash at its end.
        Empty: the address that the request came to."""
        return self._get("PUBLIC_URL", "", str).strip().rstrip("/")

    @property
    def limit_filesize_bytes(self) -> int:
        """Largest declared size of one set for a new token."""
        return self._get("LIMIT_FILESIZE", 2_000_000_000, parse_bytes)

    @property
    def limit_photos(self) -> int:
        """Most photos of one set for a new token."""
        return self._get("LIMIT_PHOTOS", 2000, int)

    @property
    def limit_part_bytes(self) -> int:
        """Largest upload part for a new token; what every client in the field cuts its archives to."""
        return self._get("LIMIT_PART", 200_000_000, parse_bytes)

    @property
    def private_credit_bytes(self) -> int:
        """Credit of a new private token if none is named."""
        return self._get("PRIVATE_CREDIT", 50_000_000_000, parse_bytes)

    @property
    def public_daily_bytes(self) -> int:
        """What a new public token is topped up to at 00:00 UTC."""
        return self._get("PUBLIC_DAILY", 10_000_000_000, parse_bytes)

    @property
    def upload_link_seconds(self) -> int:
        """How long upload links are good for."""
        return self._get("UPLOAD_LINK_SECONDS", 4 * 3600, int)

    @property
    def upload_idle_seconds(self) -> int:
        """How long an upload may send nothing before its connection is given up."""
        return self._get("UPLOAD_IDLE_SECONDS", 60, int)

    @property
    def unstarted_hours(self) -> int:
        """How long a created scan that nobody starts keeps its parts and its held credit."""
        return self._get("UNSTARTED_HOURS", 24, int)

    @property
    def result_days(self) -> int:
        """How long a result can be downloaded."""
        return self._get("RESULT_DAYS", 7, int)

    @property
    def free_reserve_bytes(self) -> int:
        """Disk space that no upload may eat into."""
        return self._get("FREE_RESERVE", 1_000_000_000, parse_bytes)

    @property
    def bind_public_names(self) -> bool:
        """Whether a scan's name under a public token belongs to the client address that created it."""
        return self._get("BIND_PUBLIC_NAMES", True, _parse_bool)

    @property
    def trusted_proxies(self) -> list[Network]:
        """Networks whose word in X-Forwarded-For is believed. Loopback and the local socket of WebODM's own nginx
        always are; name the network of a TLS proxy in front of it (`172.16.0.0/12`)."""
        return self._get("TRUSTED_PROXIES", "", _parse_networks)

    @property
    def token_requests_per_hour(self) -> int:
        """requestToken calls that one client address may make in an hour."""
        return self._get("TOKEN_REQUESTS_PER_HOUR", 5, int)

    @property
    def self_service_tokens(self) -> int:
        """How many private tokens a WebODM user may make without asking, each with the usual credit; 0: none."""
        return self._get("SELF_SERVICE_TOKENS", 0, int)

    @property
    def public_token(self) -> str:
        """A public token's text, shown to everybody on `/openscan/public/`. Empty: there is no such page."""
        return self._get("PUBLIC_TOKEN", "", str).strip()

    @property
    def default_owner(self) -> str:
        """WebODM user who owns the projects of tokens for which no owner is named. Empty: the oldest superuser."""
        return self._get("DEFAULT_OWNER", "", str)

    @property
    def storage_dir(self) -> str:
        """Directory for parts and results, seen by web and worker. Empty: `openscan` in WebODM's media directory."""
        return self._get("STORAGE_DIR", "", str)

    @property
    def preset(self) -> str:
        """WebODM preset whose options scans are processed with, as far as the node knows them."""
        return self._get("PRESET", "3D Model", str)

    @property
    def tasks_per_node(self) -> int:
        """How many scans one processing node is given at a time; the others wait in our own queue."""
        return self._get("TASKS_PER_NODE", 1, int)

    @property
    def tasks_per_cluster(self) -> int:
        """How many scans a ClusterODM that names no limit is given at a time; it does not tell how many machines it has."""
        return self._get("TASKS_PER_CLUSTER", 4, int)

    @property
    def node_tasks(self) -> "dict[str, int]":
        """How many scans single nodes are given at a time, by WebODM's label or by `host:port`
        (`gpu box=2, cluster.example.org:3000=8`); 0 keeps scans off a node."""
        return self._get("NODE_TASKS", "", _parse_numbers)

    @property
    def node_attempts(self) -> int:
        """How often a scan is processed before a failure of the processing node counts; 1: it is never given to another."""
        return self._get("NODE_ATTEMPTS", 3, int)

    @property
    def silent_minutes(self) -> int:
        """After how long without an answer for a running scan its node counts as dead, and another one gets it."""
        return self._get("SILENT_MINUTES", 15, int)

    @property
    def stalled_minutes(self) -> int:
        """After how long without progress of a running scan, not even a line of output, its node counts as hanging, and
        another one gets it; 0: never."""
        return self._get("STALLED_MINUTES", 240, int)

    @property
    def node_rest_minutes(self) -> int:
        """How long a node that failed a scan by its own fault gets no other one."""
        return self._get("NODE_REST_MINUTES", 10, int)

    @property
    def least_photos(self) -> int:
        """Fewest usable photos that are worth processing."""
        return self._get("LEAST_PHOTOS", 2, int)

    @property
    def unpacked_bytes(self) -> int:
        """Most that one archive may unpack to."""
        return self._get("UNPACKED", 20_000_000_000, parse_bytes)

    @property
    def ingest_attempts(self) -> int:
        """How often reading a set in is tried before it counts as failed through our fault."""
        return self._get("INGEST_ATTEMPTS", 8, int)

    @property
    def support_mail(self) -> str:
        """Where answers to our mails go (Reply-To). Empty: to the sender, WO_SMTP_FROM."""
        return self._get("SUPPORT_MAIL", "", str).strip()

    @property
    def admin_mails(self) -> list[str]:
        """Who is told of token requests. Empty: every active administrator of WebODM who has an address."""
        return self._get("ADMIN_MAILS", "", _parse_words)

    @property
    def celery_queue(self) -> str:
        """Celery queue of our jobs. Empty: WebODM's default one, which its worker listens to."""
        return self._get("CELERY_QUEUE", "", str).strip()

    @property
    def s3_bucket(self) -> str:
        """Bucket that results are published to and public sets are archived in. Empty: everything stays in the file system."""
        return self._get("S3_BUCKET", "", str).strip()

    @property
    def s3_endpoint(self) -> str:
        """Address of an S3-compatible storage (`https://minio.example.org:9000`). Empty: Amazon's."""
        return self._get("S3_ENDPOINT", "", str).strip().rstrip("/")

    @property
    def s3_public_endpoint(self) -> str:
        """The same storage as downloading clients reach it, where that is another address. Empty: `S3_ENDPOINT`."""
        return self._get("S3_PUBLIC_ENDPOINT", "", str).strip().rstrip("/")

    @property
    def s3_region(self) -> str:
        """Region of the bucket. Empty: what Amazon's configuration says, else `us-east-1`."""
        return self._get("S3_REGION", "", str).strip()

    @property
    def s3_access_key(self) -> str:
        """Access key id. Empty: Amazon's own chain (its environment variables, files, the machine's role)."""
        return self._get("S3_ACCESS_KEY", "", str).strip()

    @property
    def s3_secret_key(self) -> str:
        """Secret that belongs to the access key."""
        return self._get("S3_SECRET_KEY", "", str).strip()

    @property
    def s3_prefix(self) -> str:
        """What every key begins with, so that a bucket can be shared; `/` for nothing."""
        return self._get("S3_PREFIX", "openscan/", _parse_prefix)

    @property
    def s3_addressing(self) -> str:
        """`path` (`host/bucket/key`), `virtual` (`bucket.host/key`), or `auto`: path with an endpoint, virtual with Amazon."""
        return self._get("S3_ADDRESSING", "auto", str).strip().lower()

    @property
    def s3_verify(self) -> Union[bool, str]:
        """`YES`, `NO`, or a file with the certificates of the authority that signed the endpoint's."""
        return self._get("S3_VERIFY", "YES", _parse_verify)

    @property
    def s3_presign_seconds(self) -> int:
        """How long a download may begin or be resumed at the storage before our own link has to be asked again."""
        return self._get("S3_PRESIGN_SECONDS", 3600, int)

    @property
    def s3_part_bytes(self) -> int:
        """Size of the parts of an upload; each is held in memory while it is sent."""
        return self._get("S3_PART", 16_000_000, parse_bytes)

    @property
    def s3_abort_hours(self) -> int:
        """After how many hours an upload that never became complete is given up and its parts are removed."""
        return self._get("S3_ABORT_HOURS", 24, int)

    @property
    def s3_research(self) -> bool:
        """Whether public sets (consent to research) are archived in the bucket."""
        return self._get("S3_RESEARCH", True, _parse_bool)


def _parse_verify(value: Union[str, bool]) -> Union[bool, str]:
    try:
        return _parse_bool(value)
    except ValueError:
        return str(value).strip()


def _parse_prefix(value: str) -> str:
    text = str(value).strip().strip("/")
    return f"{text}/" if text else ""


def _parse_words(value: Union[str, list[str], tuple[str, ...]]) -> list[str]:
    return value.replace(",", " ").split() if isinstance(value, str) else list(value)


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


def _parse_networks(value: Union[str, list[str], tuple[str, ...]]) -> list[Network]:
    names = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    return [ipaddress.ip_network(name, strict=False) for name in names]


def public_url_problem(url: str) -> Optional[str]:
    """Why `url` cannot stand before upload links (they reach a shell unquoted), or None if it can."""
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
