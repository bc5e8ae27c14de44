"""What to say when the disk fails."""

import errno

from naru.base.errors import Internal

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


def explain(error: OSError, what: str) -> Internal:
    """The error to show when `what` failed."""
    if is_full(error):
        return Internal(f"cannot {what}: no space left on device; free some and try again")
    return Internal(f"cannot {what}: {error}")
