"""The table that a benchmark prints, and its verdict."""
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Row:
    """One ratio: ours against something else. It may be `bound` at most, or must be `least` at least. Without both, it is not judged.
    `skipped`: the tool that was missing."""

    name: str
    ours: str = ""
    against: str = ""
    ratio: Optional[float] = None
    bound: Optional[float] = None
    unit: str = ""
    skipped: str = ""
    least: Optional[float] = None

    @property
    def verdict(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        if self.ratio is None or (self.bound is None and self.least is None):
            return "-"
        too_much = self.bound is not None and self.ratio > self.bound
        too_little = self.least is not None and self.ratio < self.least
        return "MISSED" if too_much or too_little else "ok"


def print_table(rows: list[Row]) -> bool:
    """Print the rows; returns whether no bound was missed."""
    head = ("what", "ours", "against", "ratio", "bound", "")
    lines = [head] + [
        (row.name, row.ours, row.against, _number(row.ratio, row.unit), _limit(row), row.verdict) for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    missed = [row.name for row in rows if row.verdict == "MISSED"]
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nno bound was missed")
    return not missed


def _limit(row: Row) -> str:
    if row.least is not None:
        return f">= {_number(row.least, row.unit)}"
    return "" if row.bound is None else f"<= {_number(row.bound, row.unit)}"


def _number(value: Optional[float], unit: str) -> str:
    return "" if value is None else f"{value:.2f}{f' {unit}' if unit else ''}"
