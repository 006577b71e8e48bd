"""Why a set or a member of it is not taken in, as sentences for the person who uploaded it."""


class Refused(Exception):
    """The whole set is turned down. ``str()`` is one sentence for its owner, naming the member that is to blame."""


class SetAside(Exception):
    """One member is left out and the rest goes on. ``str()`` is one sentence for the owner."""


def quoted(name: str) -> str:
    """A member's name as it may stand in a sentence: printable, at most 120 characters, in quotation marks."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    if len(shown) > 120:
        shown = shown[:60] + "…" + shown[-59:]
    return f"“{shown}”"
