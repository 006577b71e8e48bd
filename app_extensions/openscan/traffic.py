"""Counts received and sent bytes for the metrics."""
from app_extensions.host import counters


def note_received(received_bytes: int) -> None:
    """Count a part of this size that was kept."""
    counters.count(openscan_received_bytes=received_bytes)


def note_sent(sent_bytes: int) -> None:
    """Count a download of a result that ended, or broke off, after this many bytes."""
    counters.count(openscan_sent_bytes=sent_bytes, openscan_downloads=1)


def note_redirect() -> None:
    """Count a download that was redirected to object storage."""
    counters.count(openscan_redirects=1)
