"""What is told to a client that asked for something we do not do."""


class OpenScanError(Exception):
    """A refusal with one sentence for the client and the HTTP status that goes with it (400 unless said)."""

    def __init__(self, sentence: str, status: int = 400):
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
