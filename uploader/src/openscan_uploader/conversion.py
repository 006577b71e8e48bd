"""Converts photos of other kinds to JPEG with their EXIF, for servers that accept only JPEG and PNG. Needs the extra `heif`."""
import os
from pathlib import Path

from openscan_uploader.errors import NotPossible

_QUALITY = 95


def to_jpeg(source: str, target: Path) -> None:
    """Convert one photo. The pixels are turned upright; EXIF and color profile are kept, with the orientation set to match.

    Raises:
        NotPossible: the extra is not installed, or the photo cannot be read.
    """
    try:
        import pillow_heif
        from PIL import Image, ImageOps
    except ImportError as error:
        raise NotPossible(f"{source}: this server accepts only JPEG and PNG, and converting photos needs an extra. "
                          'Run pip install "openscan-uploader[heif]", or set your phone\'s camera to “most compatible”.') from error
    pillow_heif.register_heif_opener()
    temporary = target.with_suffix(f".{os.getpid()}.new")
    try:
        with Image.open(source) as image:
            upright = ImageOps.exif_transpose(image)
            upright.convert("RGB").save(temporary, "JPEG", quality=_QUALITY, exif=upright.getexif().tobytes(),
                                        icc_profile=image.info.get("icc_profile"))
        os.replace(str(temporary), str(target))
    except (OSError, ValueError, SyntaxError) as error:
        raise NotPossible(f"{source} cannot be converted ({error}). Export it as JPEG, or leave it out.") from error
    finally:
        if temporary.exists():
            temporary.unlink()
