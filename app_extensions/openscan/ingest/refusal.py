"""Why a set is not taken in, as a sentence for the person who uploaded it."""


class Refused(Exception):
    """The whole set is turned down, free of charge. ``str()`` tells its owner what was wrong and what to do."""
