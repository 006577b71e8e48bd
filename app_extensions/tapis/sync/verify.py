"""Check that a fetched file is a complete photo, with the same checks as the rest of this project."""
from pathlib import Path

from app_extensions.shared import photo_files


class NotAnImage(ValueError):
    """The file is not a complete photo that processing nodes can read."""


def check_image(path: Path) -> None:
    """Check a fetched file by its content. Data after the photo's end, such as a phone's video, does not matter.

    The file must stay byte for byte the same, because later syncs compare it with its source. So kinds that need conversion
    (HEIC, WebP) are refused, whatever the file's name says.

    :raises NotAnImage: not a photo, not complete, or of a refused kind; the text is to follow the file's name
    """
    try:
        photo = photo_files.examine(path)
    except photo_files.NotUsable as reason:
        raise NotAnImage(str(reason)) from None
    if photo.kind not in photo_files.READ_EVERYWHERE:
        raise NotAnImage(f"is a {photo.kind.upper()} photo, whatever its name says; export it as JPEG")
