"""The table that a benchmark prints, and its verdict."""
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Row:
    """One ratio: ours against something else. `bound` None: told, not judged. `skipped`: the tool that was missing."""

    name: str
    ours: str = ""
    against: str = ""
    ratio: Optional[float] = None
    bound: Optional[float] = None
    unit: str = ""
    skipped: str = ""

    @property
    def verdict(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        if self.bound is None or self.ratio is None:
            return "-"
        return "ok" if self.ratio <= self.bound else "MISSED"


def print_table(rows: list[Row]) -> bool:
    """Print the rows; returns whether no bound was missed."""
    head = ("what", "ours", "against", "ratio", "bound", "")
    lines = [head] + [
        (row.name, row.ours, row.against, _number(row.ratio, row.unit), _at_most(row), row.verdict) for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    missed = [row.name for row in rows if row.verdict == "MISSED"]
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nno bound was missed")
    return not missed


def _at_most(row: Row) -> str:
    return "" if row.bound is None else f"<= {_number(row.bound, row.unit)}"


def _number(value: Optional[float], unit: str) -> str:
    return "" if value is None else f"{value:.2f}{f' {unit}' if unit else ''}"
