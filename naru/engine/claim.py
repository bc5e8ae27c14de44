"""One engine per data root: a lock that the kernel drops when the process ends, and the pidfile."""

import contextlib
import fcntl
import os

from naru.engine.config import ConfigError


class Claim:
    """Holds the data root and the exec root; `release` removes the pidfile. Raises: ConfigError."""

    def __init__(self, data_root: str, exec_root: str, pidfile: str) -> None:
        self._pidfile = pidfile
        self._locks: list[int] = []
        try:
            for root in (data_root, exec_root):
                self._locks.append(_lock(root))
            os.makedirs(os.path.dirname(pidfile), mode=0o755, exist_ok=True)
            self._write_pid()
        except BaseException:
            self._unlock()
            raise

    def _write_pid(self) -> None:
        holder = _holder(self._pidfile)
        if holder and holder != os.getpid() and _is_narud(holder):
            raise ConfigError(
                f"pidfile {self._pidfile} says that narud runs as process {holder}: stop that one, "
                "or name another file with --pidfile"
            )
        try:
            with open(self._pidfile, "w", encoding="ascii") as out:
                out.write(str(os.getpid()))
        except OSError as error:
            raise ConfigError(f"cannot write the pidfile: {error}") from error

    def release(self) -> None:
        if _holder(self._pidfile) == os.getpid():
            with contextlib.suppress(OSError):
                os.unlink(self._pidfile)
        self._unlock()

    def _unlock(self) -> None:
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks.clear()


def _lock(root: str) -> int:
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        descriptor = os.open(os.path.join(root, "narud.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use {root}: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"another narud (process {holder}) already uses {root}: stop that one, or give this "
            "one roots of its own (--data-root, --exec-root)"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _holder(pidfile: str) -> int:
    try:
        with open(pidfile, encoding="ascii") as source:
            return int(source.read(32))
    except (OSError, ValueError):
        return 0


def _is_narud(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as source:
            return b"narud" in source.read(4096)
    except OSError:
        return False
