"""Makes small pictures of photos for the window. This needs the extra `window`; without it, the window shows names."""
import base64
import io
from typing import Optional

try:
    from PIL import Image, ImageOps
except ImportError:
    Image = None  # type: ignore[assignment]


def make(path: str, side: int) -> Optional[bytes]:
    """A PNG of at most `side` pixels, in base64 for Tk. None if the photo cannot be shown."""
    if Image is None:
        return None
    try:
        with Image.open(path) as image:
            image.draft("RGB", (side * 2, side * 2))  # JPEGs are decoded at a fraction of their size
            small = ImageOps.exif_transpose(image)
            small.thumbnail((side, side))
            out = io.BytesIO()
            small.convert("RGB").save(out, "PNG")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return base64.b64encode(out.getvalue())
