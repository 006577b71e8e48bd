"""Talks to one bucket of an S3-compatible storage, given by the settings.

Any failure of the storage or the network becomes a `StorageError`. Its sentence contains neither a key nor a signature.
"""
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from app_extensions.openscan.conf import conf

AMAZON = "s3.amazonaws.com"
DEFAULT_REGION = "us-east-1"
MOST_KEYS_A_CALL = 1000
READ_BYTES = 1 << 20
_MD5_TAG = re.compile(r"[0-9a-f]{32}(-[0-9]{1,5})?")
_ABSENT = {"404", "NoSuchKey", "NotFound"}


class StorageError(Exception):
    """The storage failed; try again later. The text may be shown to an administrator.

    sent_bytes: bytes that were sent for nothing.
    """

    sent_bytes = 0


class ObjectMissing(StorageError):
    """There is no object under that key."""


class UploadMissing(StorageError):
    """The multipart upload no longer exists: it was completed or aborted."""


class Found(NamedTuple):
    """An object as the storage describes it. `etag` has no quotes, and is empty if it is not a checksum of the bytes."""

    size_bytes: int
    etag: str


class _Settings(NamedTuple):
    """All settings that a connection depends on. If one changes, a new connection is made."""

    bucket: str
    prefix: str
    endpoint: str
    public_endpoint: str
    region: str
    access_key: str
    secret_key: str
    addressing: str
    verify: Any


def is_configured() -> bool:
    """Whether a bucket is set."""
    return bool(conf.s3_bucket)


def place() -> str:
    """Where objects go, as text: endpoint and bucket. Empty without a bucket."""
    return f"{conf.s3_endpoint or AMAZON}/{conf.s3_bucket}" if is_configured() else ""


def current() -> "Optional[Bucket]":
    """The bucket of the present settings, None if none is set. :raises StorageError: the settings cannot even be tried"""
    if not is_configured():
        return None
    settings = _Settings(conf.s3_bucket, conf.s3_prefix, conf.s3_endpoint, conf.s3_public_endpoint or conf.s3_endpoint,
                         conf.s3_region, conf.s3_access_key, conf.s3_secret_key, conf.s3_addressing, conf.s3_verify)
    return _bucket(settings, os.getpid())  # a fork must not share its parent's connections


def required() -> "Bucket":
    """The bucket of the present settings. :raises StorageError: none is set, or the settings cannot even be tried"""
    bucket = current()
    if bucket is None:
        raise StorageError("the settings name no bucket")
    return bucket


@lru_cache(maxsize=4)
def _bucket(settings: _Settings, pid: int) -> "Bucket":
    return Bucket(settings)


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """Turn errors of boto3 and the network into ours. The service's own message is left out, because some quote what was signed."""
    import boto3.exceptions
    import botocore.exceptions

    try:
        yield
    except boto3.exceptions.S3UploadFailedError as error:
        answer = error.__context__  # boto3 wraps the service's answer and repeats its message
        raise _answered(doing, answer) if isinstance(answer, botocore.exceptions.ClientError) else StorageError(doing) from None
    except botocore.exceptions.ClientError as error:
        raise _answered(doing, error) from None
    except botocore.exceptions.BotoCoreError as error:
        raise StorageError(f"{doing}: {str(error) or type(error).__name__}"[:300]) from None
    except OSError as error:
        raise StorageError(f"{doing}: {error}"[:300]) from None


def _answered(doing: str, error: Any) -> StorageError:
    code = str(error.response.get("Error", {}).get("Code", "?"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
    kind = UploadMissing if code == "NoSuchUpload" else ObjectMissing if code in _ABSENT else StorageError
    return kind(f"{doing}: the storage answered {code} (HTTP {status})")


class Bucket:
    """Calls to one bucket.

    `patient` calls retry failures and wait a minute for an answer. The others are for a client that waits for us, and give up after a
    few seconds.
    """

    def __init__(self, settings: _Settings):
        """:raises StorageError: boto3 is missing or rejects the settings"""
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise StorageError(f"boto3 cannot be imported: {error}") from None
        self.name = settings.bucket
        self.prefix = settings.prefix
        # boto3 refuses virtual hosts for names with dots, because their certificates would not match.
        style = settings.addressing
        if style == "auto":
            style = "path" if settings.endpoint or "." in settings.bucket else "virtual"
        with _told("connecting"):
            try:
                session = boto3.session.Session(
                    aws_access_key_id=settings.access_key or None, aws_secret_access_key=settings.secret_key or None)
                region = settings.region or session.region_name or DEFAULT_REGION

                def client(endpoint: str, connect: float, read: float, retries: int) -> Any:
                    return session.client(
                        "s3", endpoint_url=endpoint or None, region_name=region, verify=settings.verify,
                        config=Config(signature_version="s3v4", s3={"addressing_style": style}, connect_timeout=connect,
                                      read_timeout=read, retries={"max_attempts": retries, "mode": "standard"}))

                self._patient = client(settings.endpoint, 5, 60, 2)
                self._quick = client(settings.endpoint, 2, 5, 0)
                self._public = client(settings.public_endpoint, 2, 5, 0)
            except ValueError as error:
                raise StorageError(f"the settings cannot be used: {error}") from None

    def key(self, name: str) -> str:
        """The full key of `name` under the site's prefix."""
        return self.prefix + name

    def find(self, key: str, patient: bool = True) -> Found:
        """The object under a key. :raises ObjectMissing: there is none"""
        with _told("looking for an object"):
            answer = (self._patient if patient else self._quick).head_object(Bucket=self.name, Key=key)
        return Found(int(answer["ContentLength"]), _checksum(answer))

    def put(self, key: str, data: bytes, headers: "dict[str, str]") -> None:
        """Writes a small object in one call; boto3 sends its checksum.

        :param headers: headers for its downloads, by boto3's names: `ContentType`, `ContentDisposition`
        """
        with _told("writing an object"):
            self._patient.put_object(Bucket=self.name, Key=key, Body=data, **headers)

    def upload(self, path: Path, key: str, headers: "dict[str, str]", part_bytes: int, sent: Callable[[int], None]) -> None:
        """Writes a file. A large file is sent in parts, one after the other, so that only one part is in memory.

        boto3 retries failures, sends a checksum with each part, and aborts an upload that it cannot finish.

        :param headers: as for `put`
        :param sent: called with the number of bytes after each send
        """
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=part_bytes + 1, multipart_chunksize=part_bytes, use_threads=False)
        with _told("writing an object"):
            self._patient.upload_file(str(path), self.name, key, ExtraArgs=headers, Config=parts, Callback=sent)

    def _open_uploads(self, prefix: str) -> "list[dict[str, Any]]":
        with _told("looking for unfinished uploads"):
            pages = self._patient.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
            return [one for page in pages for one in page.get("Uploads", ())]

    def give_up_uploads(self, prefix: str) -> None:
        """Aborts all unfinished uploads with keys that begin with `prefix`, so that their parts take no more space.

        MinIO lists such uploads only for a whole key, and aborts those older than a day by itself.
        """
        for one in self._open_uploads(prefix):
            with suppress(UploadMissing), _told("giving an upload up"):
                self._patient.abort_multipart_upload(Bucket=self.name, Key=one["Key"], UploadId=one["UploadId"])

    def listed(self, prefix: str) -> "Iterator[tuple[str, Found]]":
        """All objects with keys that begin with `prefix`."""
        with _told("listing objects"):
            for page in self._patient.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                for one in page.get("Contents", ()):
                    yield one["Key"], Found(int(one["Size"]), one["ETag"].strip('"'))

    def delete(self, keys: "list[str]") -> None:
        """Removes objects. Missing ones are fine."""
        for start in range(0, len(keys), MOST_KEYS_A_CALL):
            wanted = [{"Key": key} for key in keys[start:start + MOST_KEYS_A_CALL]]
            with _told("removing objects"):
                answer = self._patient.delete_objects(Bucket=self.name, Delete={"Objects": wanted, "Quiet": True})
            if answer.get("Errors"):
                first = answer["Errors"][0]
                raise StorageError(f"removing objects: the storage answered {first.get('Code', '?')} for {len(answer['Errors'])}")

    def chunks(self, key: str) -> Iterator[bytes]:
        """An object's bytes. :raises ObjectMissing: there is none :raises StorageError: also if the bytes break off"""
        import urllib3.exceptions

        with _told("reading an object"):
            try:
                answer = self._patient.get_object(Bucket=self.name, Key=key)
                yield from answer["Body"].iter_chunks(READ_BYTES)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise StorageError(f"reading an object: {type(error).__name__}") from None

    def link(self, key: str, file_name: str, seconds: int) -> str:
        """A presigned link to download an object as `file_name`. Made without contacting the storage.

        :param file_name: letters, digits and `._-` only
        """
        with _told("signing a link"):
            return self._public.generate_presigned_url("get_object", ExpiresIn=seconds, Params={
                "Bucket": self.name, "Key": key, "ResponseContentType": "application/zip",
                "ResponseContentDisposition": disposition(file_name)})


def disposition(file_name: str) -> str:
    """The Content-Disposition header that makes a browser save a download as `file_name` (letters, digits and `._-`)."""
    return f'attachment; filename="{file_name}"'


def _checksum(answer: "dict[str, Any]") -> str:
    """An answer's ETag if it is made of MD5 sums, else empty.

    Tags are something else if the object is encrypted with a key service or a customer's key. Some storages also make other tags, for
    example for objects of several parts.
    """
    tag = answer["ETag"].strip('"')
    encrypted = "kms" in answer.get("ServerSideEncryption", "") or answer.get("SSECustomerAlgorithm")
    return "" if encrypted or not _MD5_TAG.fullmatch(tag) else tag

