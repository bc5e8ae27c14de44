"""Signals as people name them: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`. Pure."""

import re
import signal

from naru.base.errors import InvalidParameter
from naru.base.units import is_number

_RT = re.compile(r"RT(MIN|MAX)(?:([+-])([0-9]{1,3}))?\Z")
_SIGRTMIN, _SIGRTMAX = 34, 64


def parse_signal(text: str) -> int:
    """The number. Raises: InvalidParameter (`Invalid signal: x`)."""
    if is_number(text):
        number = int(text)
        if 1 <= number <= _SIGRTMAX:
            return number
        raise InvalidParameter(f"Invalid signal: {text}")
    name = text.upper().removeprefix("SIG")
    if (match := _RT.match(name)) is not None:
        base = _SIGRTMIN if match[1] == "MIN" else _SIGRTMAX
        offset = int(match[3] or 0)
        number = base - offset if match[2] == "-" else base + offset
        if _SIGRTMIN <= number <= _SIGRTMAX:
            return number
    elif (known := signal.Signals.__members__.get(f"SIG{name}")) is not None:
        return int(known)
    raise InvalidParameter(f"Invalid signal: {text}")
