"""The Tapis app's settings: one property a setting, each with a safe default.

A setting ``X`` is Django's ``TAPIS_X``, else the environment's ``WO_TAPIS_X``. ``conf.x`` is the value now:
nothing is cached, so tests may change it.
"""
import os
from typing import Any, Callable, Optional

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from app_extensions.host import celery_queue


def _boolean(text: str) -> bool:
    known = {"yes": True, "true": True, "1": True, "on": True, "no": False, "false": False, "0": False, "off": False}
    try:
        return known[text.strip().lower()]
    except KeyError:
        raise ValueError("not YES or NO") from None


def read(name: str, default: Any, cast: Optional[Callable[[str], Any]] = None) -> Any:
    """The setting ``TAPIS_<name>``, else ``WO_TAPIS_<name>``, else the default.

    :param cast: turns a text into the value; by default what the default's type asks for
    :raises ImproperlyConfigured: a text that does not fit, by name
    """
    value = getattr(settings, "TAPIS_" + name, None)
    if value in (None, ""):
        value = os.environ.get("WO_TAPIS_" + name, "").strip()
    if value == "":
        return default
    if not isinstance(value, str):
        if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, (bool, int, float)) or isinstance(default, str):
            raise ImproperlyConfigured(f"TAPIS_{name} (WO_TAPIS_{name}): {value!r} is not of the kind that it takes")
        return value
    cast = cast or (_boolean if isinstance(default, bool) else type(default))
    try:
        return cast(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"TAPIS_{name} (WO_TAPIS_{name}): {error}") from None


class Conf:
    """Every setting of the Tapis app."""

    @property
    def base_url(self) -> str:
        """Where a new client's Tapis is, without a slash at the end."""
        return read("BASE_URL", "https://portals.tapis.io").rstrip("/")

    @property
    def tenant_id(self) -> str:
        """A new client's tenant."""
        return read("TENANT_ID", "portals")

    @property
    def create_users(self) -> bool:
        """Whether a Tapis user who is new here gets a WebODM user, in WebODM's default group."""
        return read("CREATE_USERS", True)

    @property
    def allowed_users(self) -> str:
        """Tapis users who get a WebODM account at their first login: names or ``user@tenant``, separated by commas, ``*`` as a wildcard.

        Empty: nobody. Whoever has an account can link it either way.
        """
        return read("ALLOWED_USERS", "")

    @property
    def bearer_clients(self) -> str:
        """Which Tapis tokens count as ``Bearer``: ``any`` of the tenant, or ``own``: those issued to a client registered here."""
        return read("BEARER_CLIENTS", "any")

    @property
    def discover_on_login(self) -> bool:
        """Default of the preference ``auto_discover_on_login``: whether a login looks for new flights."""
        return read("DISCOVER_ON_LOGIN", True)

    @property
    def fetch(self) -> bool:
        """Default of the preference ``sync_on_discovery``: whether images of new projects are fetched without asking."""
        return read("FETCH", False)

    @property
    def process(self) -> bool:
        """Default of the preference ``process_after_sync``: whether complete flights are processed without asking."""
        return read("PROCESS", False)

    @property
    def connect_timeout(self) -> float:
        """Seconds to wait for a connection to Tapis."""
        return read("CONNECT_TIMEOUT", 10.0)

    @property
    def timeout(self) -> float:
        """Seconds without a byte from Tapis after which a call is given up."""
        return read("TIMEOUT", 30.0)

    @property
    def refresh_below(self) -> int:
        """Seconds of life left below which an access token is refreshed (contracts: 600)."""
        return read("REFRESH_BELOW", 600)

    @property
    def key_seconds(self) -> int:
        """Seconds for which a tenant's public key is believed before it is fetched again."""
        return read("KEY_SECONDS", 3600)

    @property
    def leeway(self) -> int:
        """Seconds by which clocks may differ when a token's times are checked."""
        return read("LEEWAY", 30)

    @property
    def system_prefix(self) -> str:
        """What the ids of the systems that hold flights start with."""
        return read("SYSTEM_PREFIX", "ptdatax.project.")

    @property
    def listing_connections(self) -> int:
        """Directory listings at once in one discovery."""
        return read("LISTING_CONNECTIONS", 16)

    @property
    def listing_seconds(self) -> float:
        """Seconds that the listings of one sync, or of one discovery by the command, may take in all. What was not read is named."""
        return read("LISTING_SECONDS", 900.0)

    @property
    def flight_connections(self) -> int:
        """Downloads at once for one flight, over all workers."""
        return read("FLIGHT_CONNECTIONS", 4)

    @property
    def instance_connections(self) -> int:
        """Downloads at once for this whole WebODM."""
        return read("INSTANCE_CONNECTIONS", 8)

    @property
    def sync_workers(self) -> int:
        """Celery jobs that share one flight's sync."""
        return read("SYNC_WORKERS", 2)

    @property
    def workers(self) -> int:
        """Celery tasks of ours that work on discoveries and syncs at the same time, over all workers."""
        return read("WORKERS", 4)

    @property
    def answer_seconds(self) -> float:
        """Seconds that a request waits for its discovery before it answers 202 with what there is so far."""
        return read("ANSWER_SECONDS", 60.0)

    @property
    def settle_seconds(self) -> float:
        """Seconds for which a flight must not have changed at Tapis before it counts as complete."""
        return read("SETTLE_SECONDS", 60.0)

    @property
    def batch_seconds(self) -> float:
        """Seconds after which a discovery or a sync gives its Celery worker back for other work; it goes on in another turn."""
        return read("BATCH_SECONDS", 60.0)

    @property
    def lease_seconds(self) -> float:
        """Seconds after which a worker that gives no sign is taken for dead, and its files are fetched by others."""
        return read("LEASE_SECONDS", 60.0)

    @property
    def retry_seconds(self) -> float:
        """Longest first wait before a failed call is tried again; it doubles from there."""
        return read("RETRY_SECONDS", 0.5)

    @property
    def disk_reserve_bytes(self) -> int:
        """Bytes that a sync leaves free on the disk of the media."""
        return read("DISK_RESERVE_BYTES", 1_000_000_000)

    @property
    def discovery_hours(self) -> float:
        """Hours between periodic discoveries for every user with tokens; 0: none."""
        return read("DISCOVERY_HOURS", 0.0)

    @property
    def sync_hours(self) -> float:
        """Hours between periodic syncs of every flight; 0: none."""
        return read("SYNC_HOURS", 0.0)

    @property
    def stagger_seconds(self) -> float:
        """Seconds between two users' periodic discoveries, so that they do not reach Tapis at once."""
        return read("STAGGER_SECONDS", 30.0)

    @property
    def queue(self) -> str:
        """Celery queue of syncs and discoveries. Empty: the queue of all our jobs, ``WO_EXTENSIONS_QUEUE``."""
        return read("QUEUE", "") or celery_queue.queue_name()


conf = Conf()
