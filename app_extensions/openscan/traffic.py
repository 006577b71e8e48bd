"""Counts the bytes that come in and go out, for the metrics."""
from app_extensions.host import counters


def note_received(received_bytes: int) -> None:
    """A part of so many bytes was kept."""
    counters.count(openscan_received_bytes=received_bytes)


def note_sent(sent_bytes: int) -> None:
    """A download of a result ended, or broke off, after so many bytes."""
    counters.count(openscan_sent_bytes=sent_bytes, openscan_downloads=1)


def note_redirect() -> None:
    """A download was sent on to object storage."""
    counters.count(openscan_redirects=1)
