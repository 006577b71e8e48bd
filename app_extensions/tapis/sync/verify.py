"""Whether a fetched file is a whole photo, by the definition that all of this project shares."""
from pathlib import Path

from app_extensions.shared import photo_files


class NotAnImage(ValueError):
    """The file is not a whole photo that processing nodes read."""


def check_image(path: Path) -> None:
    """Judge a fetched file by its content. What lies behind a photo's end (a phone's video) does not matter.

    A file is kept byte for byte, as it is compared with its source later; so kinds that would have to be converted first
    (HEIC, WebP) are refused, whatever their name says.

    :raises NotAnImage: not a photo, not whole, or of such a kind; the text goes after the file's name
    """
    try:
        photo = photo_files.examine(path)
    except photo_files.NotUsable as reason:
        raise NotAnImage(str(reason)) from None
    if photo.kind not in photo_files.READ_EVERYWHERE:
        raise NotAnImage(f"is a {photo.kind.upper()} photo, whatever its name says; export it as JPEG")
