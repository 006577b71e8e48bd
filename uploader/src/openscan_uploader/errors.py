"""The errors. Each error's text says what happened and what to do, and never holds a token or a link."""

#: The text when an upload was canceled.
CANCELED = "Canceled. The server keeps what was sent. Start again to continue."


class UploaderError(Exception):
    """The base of all errors of this package. `exit_code` is what `openscan-upload` ends with."""

    exit_code = 1


class NotPossible(UploaderError):
    """The set cannot be sent as it is: too large, too many photos, too little credit, or a wrong argument. Nothing was sent."""

    exit_code = 3


class NoUsablePhotos(NotPossible):
    """There are not enough photos in what was chosen."""


class WrongToken(UploaderError):
    """The server does not know the token, or wants another user name and password."""

    exit_code = 4


class Refused(UploaderError):
    """The server answered no, with its reason."""

    exit_code = 5

    def __init__(self, sentence: str, status: int) -> None:
        """:param sentence: the server's reason :param status: the HTTP status"""
        super().__init__(sentence)
        self.status = status


class Unreachable(UploaderError):
    """The server could not be reached within the time to wait. What was sent stays, and the next call continues."""

    exit_code = 6


class ProcessingFailed(UploaderError):
    """The server could not make a model of the photos, or the model has expired."""

    exit_code = 7


class ChangedPhotos(UploaderError):
    """A photo changed while it was being sent. Nothing was started."""

    exit_code = 8


class Canceled(UploaderError):
    """The caller canceled. What was sent stays, and the next call continues."""

    exit_code = 130
