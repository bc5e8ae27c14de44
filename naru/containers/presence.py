"""Work on a container's files, while others may remove it."""

import contextlib
from collections.abc import Iterator

from naru.base.errors import Conflict, NaruError
from naru.containers.store import ContainerStore

_LEAVING = frozenset({"removing", "dead"})


def is_leaving(store: ContainerStore, identifier: str) -> bool:
    """Whether the container is gone, or on its way."""
    container = store.get(identifier)
    return container is None or container.state.status in _LEAVING


@contextlib.contextmanager
def while_present(store: ContainerStore, identifier: str) -> Iterator[None]:
    """What fails because the container was removed meanwhile is told as just that.

    Raises: Conflict then; every other error is passed on.
    """
    try:
        yield
    except (NaruError, OSError) as error:
        if not is_leaving(store, identifier):
            raise
        raise Conflict(f"container {identifier} is being removed: its files are gone") from error
