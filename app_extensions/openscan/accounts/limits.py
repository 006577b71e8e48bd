"""Checks a set against its token's limits. Each refusal says what to do about it."""
import re

from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Token
from app_extensions.shared.formatting import format_exact_bytes

LONGEST_NAME = 255
#: Control characters (ASCII and C1), line separators, and characters that change the text direction (Unicode TR 9, section 2).
_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: Upper bounds of a token's numbers: far above any real need, and well within what the database can store.
MOST_OF_TOKEN = {"limit_filesize_bytes": 10**15, "limit_part_bytes": 10**15, "daily_bytes": 10**15, "limit_photos": 1_000_000}


def check_set(token: Token, *, photos: int, parts: int, filesize_bytes: int) -> None:
    """Raises OpenScanError (400) if a declared set exceeds what `token` allows. The sentence has the declared and allowed values."""
    if photos < 1:
        raise OpenScanError("The set declares no photos; send photos=1 or more.")
    if parts < 1:
        raise OpenScanError("The set declares no parts; send parts=1 or more.")
    if filesize_bytes < 1:
        raise OpenScanError("The set declares no bytes; send the archive's size as filesize.")
    if filesize_bytes > token.limit_filesize_bytes:
        raise OpenScanError(
            f"The set is too large: {format_exact_bytes(filesize_bytes)} declared, this token allows "
            f"{format_exact_bytes(token.limit_filesize_bytes)}; send fewer or smaller photos, or split the scan."
        )
    if photos > token.limit_photos:
        raise OpenScanError(
            f"The set has too many photos: {photos:,} declared, this token allows {token.limit_photos:,}; send fewer photos."
        )
    fewest = -(-filesize_bytes // token.limit_part_bytes)
    if parts < fewest:
        raise OpenScanError(
            f"The set has too few parts: {parts:,} declared, but a part may have "
            f"{format_exact_bytes(token.limit_part_bytes)}, so this set needs at least {fewest:,}."
        )
    most = max(token.limit_photos, -(-token.limit_filesize_bytes // token.limit_part_bytes))
    if parts > most:
        raise OpenScanError(f"The set has too many parts: {parts:,} declared, this token allows {most:,}; send larger parts.")
    if parts > filesize_bytes:
        raise OpenScanError(
            f"The set has more parts than bytes: {parts:,} parts for {format_exact_bytes(filesize_bytes)}; "
            "every part needs at least one byte."
        )


def packing_bytes(parts: int, photos: int) -> int:
    """How many bytes a set may have beyond its declared `filesize`.

    Some clients send one zip, but declare the sum of their photos. The zip adds its directory to that: 98 bytes per photo and
    twice its name (APPNOTE 4.3). A set in several parts has to be exact, because otherwise a missing piece would go unnoticed.
    """
    return 1_024 * (photos + 1) if parts == 1 else 0


def check_token_number(field: str, value: int) -> None:
    """Raises OpenScanError if a token's limit or daily amount is out of bounds.

    :param field: a key of ``MOST_OF_TOKEN``
    """
    if field != "daily_bytes" and value <= 0:
        raise OpenScanError("A token's limits have to be above zero.")
    if not 0 <= value <= MOST_OF_TOKEN[field]:
        raise OpenScanError(f"A token's {field} may be at most {MOST_OF_TOKEN[field]:,}, not {value:,}.")


def check_name(name: str) -> None:
    """Raises OpenScanError (400) for a project name that cannot be stored. Names never become paths or URLs."""
    if not name.strip():
        raise OpenScanError("The project has no name; send it as project.")
    if len(name) > LONGEST_NAME:
        raise OpenScanError(
            f"The project's name is too long: {len(name):,} characters, {LONGEST_NAME} are allowed; choose a shorter one."
        )
    if not is_storable(name):
        raise OpenScanError("The project's name contains control characters or broken text; choose a plain one.")


def is_name(text: str) -> bool:
    """Whether a project can have this name."""
    return bool(text.strip()) and len(text) <= LONGEST_NAME and is_storable(text)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store `text` and a page can show it.

    It must be valid Unicode without control characters, line breaks, and characters that change the text direction.
    """
    if _NOT_SHOWN.search(text):
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
