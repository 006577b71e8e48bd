"""Numbers as people read them: sizes and durations."""


def format_bytes(size_bytes: int) -> str:
    """`size_bytes` in decimal units, as disks and the rigs count them: `200 MB`, `1.5 GB`, `12 bytes`."""
    if abs(size_bytes) < 1000:
        return f"{size_bytes} byte{'' if size_bytes == 1 else 's'}"
    value, unit = float(size_bytes), "bytes"
    for unit in ("kB", "MB", "GB", "TB"):  # noqa: B007 - the last one stays for all above
        value /= 1000
        if abs(value) < 999.95:
            break
    return f"{value:.1f}".rstrip("0").rstrip(".") + f" {unit}"


def format_exact_bytes(size_bytes: int) -> str:
    """`size_bytes` to the byte, with the rounded size where that helps: `2,000,000,000 bytes (2 GB)`."""
    if abs(size_bytes) < 1000:
        return format_bytes(size_bytes)
    return f"{size_bytes:,} bytes ({format_bytes(size_bytes)})"


def format_duration(seconds: float) -> str:
    """`seconds` in the two largest units that count: `2 h 5 min`, `40 s`."""
    whole = max(0, int(round(seconds)))
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    pieces: list[tuple[int, str]] = []
    for name, size in units:
        amount, whole = divmod(whole, size)
        if amount or pieces:
            pieces.append((amount, name))
    return " ".join(f"{amount} {name}" for amount, name in pieces[:2] if amount) or "0 s"
