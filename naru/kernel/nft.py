"""nftables through libnftables: text in, one transaction, text or JSON out.

One context per narud, kept open (0.1 ms per transaction; the `nft` program takes 3 ms). Commands
name only Naru's own tables: other people's rules are never touched.
"""

import ctypes
import json
import threading
from typing import Any

from naru.base.errors import Internal

_LIBRARY = "libnftables.so.1"
_OUTPUT_STATELESS, _OUTPUT_JSON = 1 << 2, 1 << 4


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise Internal(
            f"{_LIBRARY} cannot be loaded ({error}): install the package libnftables1"
        ) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        function = getattr(library, name)
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_void_p,)
    library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    library.nft_ctx_output_set_flags.argtypes = (ctypes.c_void_p, ctypes.c_uint)
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
    return library


class Nft:
    """One libnftables context. Thread safe: transactions run one after the other.

    Works in the network namespace of the thread that made it. Raises: Internal when the library
    is not there.
    """

    def __init__(self) -> None:
        self._library = _load()
        self._lock = threading.Lock()
        self._context: int | None = self._library.nft_ctx_new(0)
        if not self._context:
            raise Internal("nftables: no context could be made")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> None:
        """All of `commands` or none. Raises: Internal with nft's own words."""
        self._execute(commands, 0)

    def text(self, commands: str) -> str:
        """What `commands` (a `list …`) print. Raises: Internal."""
        return self._execute(commands, 0)

    def stateless(self, commands: str) -> str:
        """As `text`, without counters and the like: fit to be run again. Raises: Internal."""
        return self._execute(commands, _OUTPUT_STATELESS)

    def json(self, commands: str) -> dict[str, Any]:
        """What `commands` answer as JSON (`{"nftables": […]}`). Raises: Internal.

        Spec: libnftables-json(5).
        """
        answer = self._execute(commands, _OUTPUT_JSON)
        parsed: dict[str, Any] = json.loads(answer) if answer else {"nftables": []}
        return parsed

    def _execute(self, commands: str, flags: int) -> str:
        library = self._library
        with self._lock:
            if self._context is None:
                raise Internal("nftables: the context is closed")
            library.nft_ctx_output_set_flags(self._context, flags)
            code = library.nft_run_cmd_from_buffer(self._context, commands.encode())
            output: bytes = library.nft_ctx_get_output_buffer(self._context)
            errors: bytes = library.nft_ctx_get_error_buffer(self._context)
        if code != 0:
            raise Internal(f"nftables: {errors.decode(errors='replace').strip() or 'refused'}")
        return output.decode(errors="replace")

    def close(self) -> None:
        with self._lock:
            if self._context is not None:
                self._library.nft_ctx_free(self._context)
                self._context = None
