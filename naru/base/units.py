"""Sizes and spans of time as people write and read them. Pure.

Docker writes sizes with powers of 1000 (`1.24MB`) except memory (`7.5MiB`), and reads `512m` with
powers of 1024. No regular expressions here: the command line imports this before every listing.
"""

from naru.base.errors import InvalidParameter

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(text: str) -> int:
    """Bytes of `512m`, `1.5GiB`, `100`; powers of 1024. Raises: InvalidParameter."""
    number = text.strip().rstrip("BbIiKkMmGgTtPp")
    unit = text.strip()[len(number) :].lower()
    number = number.removesuffix(" ")
    whole, dot, fraction = number.partition(".")
    power = unit.removesuffix("b").removesuffix("i")
    if power not in _POWERS or not is_number(whole) or (dot and not is_number(fraction)):
        raise InvalidParameter(f"invalid size: '{text}'")
    return int(float(number) * 1024 ** _POWERS[power])


def is_number(text: str) -> bool:
    """Whether `text` is a whole number that `int` takes: ASCII digits, 18 at most."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def _human(size: float, base: float, names: tuple[str, ...], digits: int) -> str:
    step = 0
    while size >= base and step < len(names) - 1:
        size /= base
        step += 1
    return f"{size:.{digits}g}{names[step]}"


def human_size(size_bytes: float, digits: int = 4) -> str:
    """`1.234MB`: powers of 1000 and `digits` significant digits (3 in `docker images`)."""
    return _human(size_bytes, 1000.0, ("B", "kB", "MB", "GB", "TB", "PB", "EB"), digits)


def human_size_binary(size_bytes: float) -> str:
    """`1.234MiB`: powers of 1024, as `docker stats` shows memory."""
    return _human(size_bytes, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), 4)


def human_duration(seconds: float) -> str:
    """`About a minute`, `3 hours`, `2 weeks`: the words of `docker ps`."""
    whole = int(seconds)
    minutes, hours = whole // 60, round(seconds / 3600)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for limit, unit, name in ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks")):
        if hours < limit:
            return f"{hours // unit} {name}"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"
