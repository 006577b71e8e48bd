"""Whether a request to an S3 storage is one that the storage would take: AWS' Signature Version 4, its dates, and the checksums.

moto's server takes all of them. Written from AWS' description of the signature (Signature Version 4, "Create a signed request" and
"Authenticating requests: using query parameters"), not from the code of a client: it is to find out whether the client is right.
"""
import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Optional, Union
from urllib.parse import parse_qsl, quote, urlsplit

UNSIGNED = "UNSIGNED-PAYLOAD"
#: How far a request's date may be from the storage's.
SKEW = timedelta(minutes=15)
MOST_SECONDS = 7 * 86400

Problem = Optional["tuple[int, str]"]


def problem(method: str, target: str, headers: "Mapping[str, str]", body: bytes, secrets: "dict[str, str]",
            region: str = "us-east-1") -> Problem:
    """Status and code of S3's refusal; None for a request that it takes.

    :param target: path and query as they came
    :param headers: their names in any case
    :param secrets: access key ids with their secret keys
    """
    fields = {name.lower(): value for name, value in headers.items()}
    given = fields.get("content-md5")
    if given is not None and given != base64.b64encode(hashlib.md5(body).digest()).decode():
        return 400, "BadDigest"
    query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
    if "X-Amz-Signature" in query:
        return _presigned(method, target, fields, query, secrets, region)
    return _signed(method, target, fields, body, secrets, region)


def _signed(method: str, target: str, fields: "dict[str, str]", body: bytes, secrets: "dict[str, str]", region: str) -> Problem:
    found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\S+), ?SignedHeaders=(\S+), ?Signature=([0-9a-f]{64})",
                         fields.get("authorization", ""))
    if not found:
        return 403, "AccessDenied"
    payload = fields.get("x-amz-content-sha256", "")
    if payload not in (UNSIGNED, hashlib.sha256(body).hexdigest()):
        return 400, "XAmzContentSHA256Mismatch"
    stamp = fields.get("x-amz-date", "")
    if abs(_now() - _time(stamp)) > SKEW:
        return 403, "RequestTimeTooSkewed"
    credential, signed_headers, signature = found.groups()
    unsigned = {name for name in fields if name.startswith("x-amz-")} | {"host"}
    if not unsigned <= set(signed_headers.split(";")):
        return 403, "AccessDenied"
    return _compare(method, target, fields, signed_headers, payload, stamp, credential, signature, secrets, region)


def _presigned(method: str, target: str, fields: "dict[str, str]", query: "dict[str, str]", secrets: "dict[str, str]",
               region: str) -> Problem:
    stamp, seconds = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" or not seconds.isdigit() or not 0 < int(seconds) <= MOST_SECONDS:
        return 400, "AuthorizationQueryParametersError"
    if not -SKEW <= _now() - _time(stamp) <= timedelta(seconds=int(seconds)):
        return 403, "AccessDenied"
    return _compare(method, target, fields, query.get("X-Amz-SignedHeaders", ""), UNSIGNED, stamp, query.get("X-Amz-Credential", ""),
                    query["X-Amz-Signature"], secrets, region)


def _compare(method: str, target: str, fields: "dict[str, str]", signed_headers: str, payload: str, stamp: str, credential: str,
             signature: str, secrets: "dict[str, str]", region: str) -> Problem:
    key_id, _, scope = credential.partition("/")
    if key_id not in secrets:
        return 403, "InvalidAccessKeyId"
    if scope != f"{stamp[:8]}/{region}/s3/aws4_request":
        return 400, "AuthorizationHeaderMalformed"
    address = urlsplit(target)
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~"))
                   for name, value in parse_qsl(address.query, keep_blank_values=True) if name != "X-Amz-Signature")
    lines = "".join(f"{name}:{' '.join(fields.get(name, '').split())}\n" for name in signed_headers.split(";"))
    request = "\n".join([method, address.path, "&".join(f"{name}={value}" for name, value in pairs), lines, signed_headers, payload])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key: Union[bytes, str] = "AWS4" + secrets[key_id]
    for part in scope.split("/"):
        key = hmac.new(key if isinstance(key, bytes) else key.encode(), part.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return None if hmac.compare_digest(expected, signature) else (403, "SignatureDoesNotMatch")


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _time(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return datetime.min.replace(tzinfo=timezone.utc) + timedelta(days=1)
