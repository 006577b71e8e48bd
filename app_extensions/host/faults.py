"""Explain a failed task's error in our own words.

WebODM stores the error text of pyodm, the node or the network library. That text may hold the node's address with its API token, so it
never reaches clients, mails or pages. They get one of our sentences for each class of fault. Administrators may see the masked text.
"""
import re
from typing import NamedTuple, Optional

from app_extensions.host.logs import mask

#: Characters of an error to read: the cause is at its beginning, and some nodes append pages of output.
_READ_CHARACTERS = 2000
_SHOWN_CHARACTERS = 500


class Trouble(NamedTuple):
    """A node's fault. kind: its name for logs. words: for users. rests: whether to keep other scans off the node for a while."""

    kind: str
    words: str
    rests: bool = False


#: Task errors that are a node's fault. They come from our own node, NodeODM, ClusterODM, or from WebODM on the way to them.
#: Lack of memory is not one of them, because another node would need as much.
_FAULTS = (
    (re.compile(r"no space left|disk (is )?full|no room on the node|ENOSPC", re.I),
     Trouble("full", "its disk was full", rests=True)),
    (re.compile(r"^\S{32,36} not found|\buuid\b.*\bnot found|invalid uuid|invalid route for task", re.I),
     Trouble("forgotten", "it had forgotten the task")),
    (re.compile(r"node went offline|^connection (error|timeout)|connection (refused|aborted|reset)|max retries exceeded|"
                r"HTTPConnectionPool|proxy redirect error|^unexpected status code: 5\d\d|^5\d\d$", re.I),
     Trouble("unreachable", "it could not be reached any more")),
    (re.compile(r"no nodes (are )?(available|online)|failed to forward task|maximum upload retries|"
                r"maximum number of concurrent tasks|^uuh, slow down", re.I),
     Trouble("no machine", "none of its machines took the task")),
    (re.compile(r"^invalid zip file|^the processing node (failed|could not work)", re.I), Trouble("broken", "it had an internal error")),
)
SILENT = Trouble("silent", "it did not answer any more", rests=True)
STALLED = Trouble("stalled", "it made no progress any more", rests=True)
OFFLINE = Trouble("offline", "it went offline")
REMOVED = Trouble("removed", "it was taken out of WebODM")
_TROUBLES = (*(trouble for _, trouble in _FAULTS), SILENT, STALLED, OFFLINE, REMOVED)
#: Node errors that the photos cause. Another node would report the same, and the credit is not refunded.
PHOTOS_AT_FAULT = re.compile(
    r"photos? could be placed|images? could be (placed|matched)|not enough (overlap|features|matches|images)|"
    r"too few (photos|images|features|matches)|overlap", re.IGNORECASE)
_PLACED = re.compile(r"\b([0-9]{1,6}) of ([0-9]{1,6}) photos could be placed", re.IGNORECASE)
_BACKGROUND = re.compile(r"background did not move", re.IGNORECASE)
_MEMORY = re.compile(r"out of memory|not enough memory|bad_alloc|cannot allocate memory|MemoryError", re.IGNORECASE)
#: Matches the text of `given_up`, which we get back as the task's error.
_GIVEN_UP = re.compile("The processing node failed: ({})\\. [0-9]+ attempts were made\\.".format(
    "|".join(re.escape(trouble.words) for trouble in _TROUBLES)))


def fault_in(error: str) -> Optional[Trouble]:
    """The node's fault in a failed task's error. None if the photos are at fault, or the cause is unknown."""
    error = error[:_READ_CHARACTERS]
    if PHOTOS_AT_FAULT.search(error):
        return None
    return next((trouble for pattern, trouble in _FAULTS if pattern.search(error)), None)


def given_up(trouble: Trouble, attempts: int) -> str:
    """The error to store for a task that no node could finish."""
    return f"The processing node failed: {trouble.words}. {attempts} attempts were made."


def explain(error: str) -> str:
    """Say in our own sentences why a task failed and what to do. Only numbers are taken from the error itself.

    :param error: as WebODM stored it; may be empty
    """
    error = error[:_READ_CHARACTERS]
    if _GIVEN_UP.fullmatch(error):
        return error
    if PHOTOS_AT_FAULT.search(error):
        return f"{_placed(error)}{_advice(error)}"
    if _MEMORY.search(error):
        return "The processing node ran out of memory. Use fewer or smaller photos, or ask this site's support."
    trouble = fault_in(error)
    if trouble is not None:
        return f"The processing node failed: {trouble.words}. Try again later, or ask this site's support."
    return "The processing node stopped with an error. Try again; if it fails again, ask this site's support."


def _placed(error: str) -> str:
    found = _PLACED.search(error)
    if found is None:
        return "Too few photos could be placed. "
    return f"Only {int(found.group(1)):,} of {int(found.group(2)):,} photos could be placed. "


def _advice(error: str) -> str:
    if _BACKGROUND.search(error):
        return ("The background did not move with the object. Put a plain dark cloth behind the object, hide the background with masks "
                "(NAME_mask.png), or move the camera around an object that stands still.")
    return ("The others do not show enough of the same details. Take more photos with at least 60 % overlap, sharp and in even light. A "
            "plain or shiny object needs a matt or speckled coat.")


def for_admins(error: str) -> str:
    """The beginning of the error itself, in one line, with tokens and passwords masked. For administrators only."""
    return mask(" ".join(error[:_READ_CHARACTERS].split()))[:_SHOWN_CHARACTERS]
