"""The threads for blocking calls, in two bounded pools. Nothing else in Naru makes an executor.

What changes a thread for good (its namespace, its file ids) runs in one that is thrown away.
"""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 16
_BULK_THREADS = 8


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="naru-io")


@functools.cache
def _bulk_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_BULK_THREADS, thread_name_prefix="naru-bulk")


async def _run(
    pool: ThreadPoolExecutor, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    context = contextvars.copy_context()
    call = functools.partial(context.run, fn, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(pool, call)


async def offload(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """`fn(*args, **kwargs)` in a thread of the pool, with the caller's context variables.

    A cancelled caller does not stop `fn`: what it does must stay right when nobody waits for it.
    """
    return await _run(_pool(), fn, *args, **kwargs)


async def offload_bulk(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As `offload`, for what may take long (removing trees, syncing, inflating, hashing, walking):
    in a few threads of its own, so that a `kill` never waits behind it."""
    return await _run(_bulk_pool(), fn, *args, **kwargs)


def in_own_thread(work: Callable[[], T]) -> T:
    """`work()` in a thread that is thrown away afterwards; its exception is raised here."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="naru-own")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
