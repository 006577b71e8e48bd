"""The exception that refuses a set, with a sentence for the person who uploaded it."""


class Refused(Exception):
    """The whole set is refused, free of charge. ``str()`` tells its owner what was wrong and what to do."""
