"""The process that seals or opens one stream: from descriptor 0 to descriptor 1, and ends.

It is told what to do over descriptor 3: `seal` or `open`, a newline, the passphrase to the end of
the data. It drops its privileges first. It answers there with an error's text, or with nothing and
status 0. It is not a command for people.
"""

import os
import sys

from naru.base.errors import NaruError
from naru.kernel.confine import drop_capabilities
from naru.storage.seal.form import seal, unseal

CONTROL_FD = 3
_LIMIT_BYTES = 1 << 16


def _told() -> tuple[bytes, bytes]:
    data = b""
    while len(data) < _LIMIT_BYTES and (piece := os.read(CONTROL_FD, _LIMIT_BYTES)):
        data += piece
    what, _, passphrase = data.partition(b"\n")
    return what, passphrase


def _run(what: bytes, passphrase: bytes) -> None:
    def read(size: int) -> bytes:
        return os.read(0, size)

    for piece in (seal if what == b"seal" else unseal)(read, passphrase):
        view = memoryview(piece)
        while view:
            view = view[os.write(1, view) :]


def main() -> int:
    what, passphrase = _told()
    drop_capabilities(())
    try:
        _run(what, passphrase)
    except NaruError as error:
        os.write(CONTROL_FD, error.message.encode())
        return 1
    except BrokenPipeError:
        return 1  # the reader has its own reason
    except (OSError, MemoryError) as error:
        os.write(CONTROL_FD, f"cannot encrypt or decrypt: {error!r}".encode())
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
