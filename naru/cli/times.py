"""`--since` and `--until` as the Engine API takes them."""

from __future__ import annotations

import time


def timestamp(text: str) -> str | None:
    """Unix seconds with nanoseconds for `42m`, a date or unix seconds; None for nothing.

    Raises: InvalidParameter.
    """
    if not text:
        return None
    from naru.base.clock import NS, parse_timestamp

    whole, _, fraction = text.partition(".")
    if whole.isdigit() and (not fraction or fraction.isdigit()):
        return text
    seconds, rest = divmod(parse_timestamp(text, time.time_ns()), NS)
    return f"{seconds}.{rest:09d}"
