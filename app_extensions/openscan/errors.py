"""The exception that refuses a client's request."""


class OpenScanError(Exception):
    """A refusal: one sentence for the client and an HTTP status, 400 by default."""

    def __init__(self, sentence: str, status: int = 400):
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
