"""The console of a task: a text file that grows by whole lines and can be read from any line on. It survives a restart of the node."""
import re
from pathlib import Path

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# A program that never ends its lines must not produce one endless line.
MAX_LINE_CHARACTERS = 4000


class Console:
    """The lines of one file. A last line without a line end (the node was killed while writing) counts as a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> None:
        """Append text line by line, without colours. Raises OSError when the disk is full."""
        lines = _COLOURS.sub("", text).splitlines() or [""]
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.writelines(line.rstrip()[:MAX_LINE_CHARACTERS] + "\n" for line in lines)

    def lines(self, start: int = 0) -> list[str]:
        """All lines from number ``start`` (0 is the first); a negative number gives that many last lines."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        # Not splitlines: the file's lines end with \n only. It would also split at other characters and shift the line numbers.
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        return lines[start:]

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)
