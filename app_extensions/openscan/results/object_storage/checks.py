"""System checks of the object storage settings, openscan.E005 to E008 and W004, W005, and a test whether the storage works."""
import ipaddress
import os
import re
import secrets
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error, Warning

from app_extensions.openscan.conf import conf
from app_extensions.openscan.results.object_storage import client

LEAST_PART_BYTES, MOST_PART_BYTES = 5 * 1024 * 1024, 500_000_000
#: What Signature Version 4 allows.
MOST_PRESIGN_SECONDS = 7 * 86400
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9/._-]{0,100}", re.ASCII)


def check_object_storage() -> "list[CheckMessage]":
    """Find what is wrong with the settings, each with a hint that says what to write instead. Does not contact the storage."""
    given = {"WO_OPENSCAN_S3_ENDPOINT": conf.s3_endpoint, "WO_OPENSCAN_S3_PUBLIC_ENDPOINT": conf.s3_public_endpoint,
             "WO_OPENSCAN_S3_REGION": conf.s3_region, "WO_OPENSCAN_S3_ACCESS_KEY": conf.s3_access_key,
             "WO_OPENSCAN_S3_SECRET_KEY": conf.s3_secret_key}
    found: list[CheckMessage] = []
    half = [name for name, value in given.items() if value]
    if half and not conf.s3_bucket:
        found.append(Error(
            f"{' and '.join(half)} is set, but WO_OPENSCAN_S3_BUCKET is not: results stay in the file system and nothing is archived.",
            hint="Set the bucket, or unset the others.", id="openscan.E005"))
    if bool(conf.s3_access_key) != bool(conf.s3_secret_key):
        there, missing = ("ACCESS", "SECRET") if conf.s3_access_key else ("SECRET", "ACCESS")
        found.append(Error(
            f"WO_OPENSCAN_S3_{there}_KEY is set without WO_OPENSCAN_S3_{missing}_KEY.",
            hint="Set both, or neither for Amazon's own chain (environment, files, the machine's role).", id="openscan.E006"))
    for name in ("WO_OPENSCAN_S3_ENDPOINT", "WO_OPENSCAN_S3_PUBLIC_ENDPOINT"):
        if given[name] and not _is_endpoint(given[name]):
            found.append(Error(f"{name} cannot be used: it must be http:// or https://, a host, perhaps a port, and nothing more.",
                               hint="Write it like https://minio.example.org:9000; the bucket goes into WO_OPENSCAN_S3_BUCKET.",
                               id="openscan.E007"))
    found += [Error(f"The object storage's setting {name} cannot be used: {problem}.", hint=hint, id="openscan.E008")
              for name, problem, hint in _wrong_values()]
    return found + _warnings()


def _wrong_values() -> "list[tuple[str, str, str]]":
    """(name, what is wrong, what to write instead) of each wrong setting."""
    wrong = []
    if conf.s3_bucket and not _BUCKET.fullmatch(conf.s3_bucket):
        wrong.append(("WO_OPENSCAN_S3_BUCKET", "no bucket has such a name",
                      "3 to 63 small letters, digits, dots and hyphens; the name alone, without s3:// or an address."))
    if not _PREFIX.fullmatch(conf.s3_prefix):
        wrong.append(("WO_OPENSCAN_S3_PREFIX", "only letters, digits, / . _ and - may be in it, at most 100",
                      "Leave it unset for openscan/."))
    if conf.s3_addressing not in ("auto", "path", "virtual"):
        wrong.append(("WO_OPENSCAN_S3_ADDRESSING", "it is not auto, path or virtual", "Leave it unset for auto."))
    if not 1 <= conf.s3_presign_seconds <= MOST_PRESIGN_SECONDS:
        wrong.append(("WO_OPENSCAN_S3_PRESIGN_SECONDS", f"it must be 1 to {MOST_PRESIGN_SECONDS}", "Leave it unset for an hour."))
    if not LEAST_PART_BYTES <= conf.s3_part_bytes <= MOST_PART_BYTES:
        wrong.append(("WO_OPENSCAN_S3_PART", f"it must be {LEAST_PART_BYTES} to {MOST_PART_BYTES} bytes", "Leave it unset for 16 MB."))
    if conf.s3_abort_hours <= 0:
        wrong.append(("WO_OPENSCAN_S3_ABORT_HOURS", "it must be above zero", "Leave it unset for a day."))
    if isinstance(conf.s3_verify, str) and not os.path.isfile(conf.s3_verify):
        wrong.append(("WO_OPENSCAN_S3_VERIFY", "it is neither YES nor NO nor a file that can be found",
                      "Name a PEM file with the authority's certificates, seen by web server and worker."))
    return wrong


def _warnings() -> "list[CheckMessage]":
    found: list[CheckMessage] = []
    if not conf.s3_bucket:
        return found
    if conf.s3_verify is False:
        found.append(Warning("WO_OPENSCAN_S3_VERIFY=NO: anybody on the network path can pretend to be the object storage.",
                             hint="Give a file with the authority's certificates instead.", id="openscan.W004"))
    for url in filter(None, (conf.s3_endpoint, conf.s3_public_endpoint)):
        if url.startswith("http://") and not _is_private(urlsplit(url).hostname or ""):
            found.append(Warning(f"Results and photos go to {url} unencrypted.", hint="Write https:// if the storage can.",
                                 id="openscan.W005"))
    return found


def _is_endpoint(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return (parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.username
                and not (parts.path or parts.query or parts.fragment))
    except ValueError:
        return False


def _is_private(host: str) -> bool:
    """Whether a host is in a private network. A name without dots belongs to a network of containers."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def try_it() -> str:
    """Write, find, list and remove a small object, as an upload would.

    :return: what the storage refused to do; empty if all went well or no bucket is set
    """
    try:
        bucket = client.current()
        if bucket is None:
            return ""
        key = bucket.key(f"probe-{secrets.token_hex(8)}")
        bucket.put(key, b"probe", {})
        try:
            bucket.find(key)
            if not any(name == key for name, _ in bucket.listed(key)):
                return "an object that was written is not listed"
        finally:
            bucket.give_up_uploads(key)
            bucket.delete([key])
    except client.StorageError as problem:
        return str(problem)
    return ""
