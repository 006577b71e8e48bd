"""Formats numbers for people."""


def size(count: float) -> str:
    """A number of bytes with a decimal unit: "1.2 GB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count / factor:,.0f} {unit}"
    return f"{count:.0f} bytes"


def duration(seconds: float) -> str:
    """A number of seconds: "45 s", "3 min", "2 h 05 min"."""
    whole = int(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 photo", "120 photos"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
