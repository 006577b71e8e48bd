"""Send photos to an OpenScanCloud server and get a 3D model back."""
from openscan_uploader.client import Client
from openscan_uploader.control import Control, Progress
from openscan_uploader.errors import (
    Canceled,
    ChangedPhotos,
    NotPossible,
    NoUsablePhotos,
    ProcessingFailed,
    Refused,
    Unreachable,
    UploaderError,
    WrongToken,
)
from openscan_uploader.server import Status, TokenInfo

#: The project's version (a test compares it with the other places that show it).
__version__ = "0.2.0"

__all__ = [
    "Canceled", "ChangedPhotos", "Client", "Control", "NoUsablePhotos", "NotPossible", "ProcessingFailed", "Progress", "Refused",
    "Status", "TokenInfo", "Unreachable", "UploaderError", "WrongToken", "__version__",
]
