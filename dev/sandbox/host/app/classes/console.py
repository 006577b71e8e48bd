"""A task's console output, kept in a file beside the task's other data."""
import os


class Console:
    """Text that grows; nothing is written while the task's directory does not exist."""

    def __init__(self, file: str):
        self.file = file

    def __str__(self):
        return self.output()

    def __add__(self, text: str) -> "Console":
        self.append(text)
        return self

    def output(self) -> str:
        """All of it; empty when there is none."""
        if not os.path.isfile(self.file):
            return ""
        with open(self.file, encoding="utf-8") as stream:
            return stream.read()

    def append(self, text: str) -> None:
        """Adds text at the end."""
        self._write(text, "a")

    def reset(self, text: str = "") -> None:
        """Replaces what is there."""
        if os.path.isfile(self.file):
            os.unlink(self.file)
        self._write(text, "w")

    def link(self, source: str) -> None:
        """Shares the bytes with ``source``, the console log that came with the results."""
        if os.path.isfile(self.file):
            os.unlink(self.file)
        os.makedirs(os.path.dirname(self.file), exist_ok=True)
        os.link(source, self.file)

    def _write(self, text: str, mode: str) -> None:
        directory = os.path.dirname(self.file)
        if not os.path.isdir(os.path.dirname(directory)):
            return
        os.makedirs(directory, exist_ok=True)
        with open(self.file, mode, encoding="utf-8") as stream:
            stream.write(text)
