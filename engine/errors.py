"""What the engine says when it cannot make a model: a sentence for the person who took the photos."""


class EngineError(Exception):
    """A failure that the user can act on; its text is shown as it is, without a traceback."""
