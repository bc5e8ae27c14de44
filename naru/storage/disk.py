"""What to say when the disk, or the supply of descriptors, fails."""

import contextlib
import errno
from collections.abc import Iterator

from naru.base.errors import Internal, NaruError, Unavailable


def explain(error: OSError, what: str) -> NaruError:
    """The error to show when `what` failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Internal(f"cannot {what}: no space left on device; free some and try again")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Unavailable(f"cannot {what}: too many open files; try again")
    return Internal(f"cannot {what}: {error}")


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns an OSError of the block into the error to show when `what` failed."""
    try:
        yield
    except OSError as error:
        raise explain(error, what) from error
