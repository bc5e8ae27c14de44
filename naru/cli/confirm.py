"""The question before something is done that cannot be undone."""

from __future__ import annotations

import os
import sys


def confirmed(warning: str) -> bool:
    """Show `warning` and ask; only `y` is a yes. Reads no further than the answer's line."""
    answer = b""
    try:
        sys.stdout.write(f"{warning}\nAre you sure you want to continue? [y/N] ")
        sys.stdout.flush()
        while not answer.endswith(b"\n") and (byte := os.read(0, 1)):
            answer += byte
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        sys.stdout.flush()
        raise
    return answer.strip().lower() == b"y"
