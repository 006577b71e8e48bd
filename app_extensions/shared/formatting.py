"""Format sizes and durations for users."""


def format_bytes(size_bytes: int) -> str:
    """`size_bytes` in decimal units, like disks and rigs use: `200 MB`, `1.5 GB`, `12 bytes`."""
    if abs(size_bytes) < 1000:
        return f"{size_bytes} byte{'' if size_bytes == 1 else 's'}"
    value, unit = float(size_bytes), "bytes"
    for unit in ("kB", "MB", "GB", "TB"):  # noqa: B007 - the last unit is used for all larger sizes
        value /= 1000
        if abs(value) < 999.95:
            break
    return f"{value:.1f}".rstrip("0").rstrip(".") + f" {unit}"


def format_exact_bytes(size_bytes: int) -> str:
    """`size_bytes` exactly, with the rounded size from 1 kB on: `2,000,000,000 bytes (2 GB)`."""
    if abs(size_bytes) < 1000:
        return format_bytes(size_bytes)
    return f"{size_bytes:,} bytes ({format_bytes(size_bytes)})"


def format_duration(seconds: float) -> str:
    """`seconds` in the two largest useful units: `2 h 5 min`, `40 s`."""
    whole = max(0, int(round(seconds)))
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    pieces: list[tuple[int, str]] = []
    for name, size in units:
        amount, whole = divmod(whole, size)
        if amount or pieces:
            pieces.append((amount, name))
    return " ".join(f"{amount} {name}" for amount, name in pieces[:2] if amount) or "0 s"
