"""The user's terminal: raw mode that is always undone, its size, detach keys, and signals as bytes.

A signal is written to a pipe by the interpreter and read where the streams are read, so that no
work is done in a signal handler.
"""

from __future__ import annotations

import os
import signal
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}
_KEPT = ("SIGKILL", "SIGSTOP", "SIGCHLD", "SIGPIPE", "SIGURG")


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q`, `a,b` as the bytes typed. Raises: ValueError."""
    keys = []
    for part in text.split(","):
        if part.startswith("ctrl-") and len(part) == 6:
            letter = part[5]
            if "a" <= letter <= "z":
                keys.append(ord(letter) - ord("a") + 1)
                continue
            if letter in _CONTROL:
                keys.append(_CONTROL[letter])
                continue
        if len(part) != 1 or ord(part) > 127:
            raise ValueError(f"Unknown character: '{part}'")
        keys.append(ord(part))
    return bytes(keys)


class DetachFilter:
    """Finds the detach keys in what is typed; holds back a beginning until it is decided."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be sent, and whether the keys were complete (the rest is dropped)."""
        out = bytearray()
        for byte in data:
            self._held += bytes([byte])
            if self._held == self._keys:
                return bytes(out), True
            while self._held and not self._keys.startswith(self._held):
                out.append(self._held[0])
                self._held = self._held[1:]
        return bytes(out), False


def is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def size(fd: int = 1) -> tuple[int, int]:
    """Height and width of the terminal at `fd`, or of standard input's; zeros without one."""
    for candidate in (fd, 0, 2):
        try:
            columns, lines = os.get_terminal_size(candidate)
        except OSError:
            continue
        return lines, columns
    return 0, 0


class RawTerminal:
    """Raw mode of the terminal at `fd` for a `with` block; nothing when it is no terminal."""

    def __init__(self, fd: int, wanted: bool) -> None:
        self._fd = fd
        self._wanted = wanted and is_terminal(fd)
        self._saved: list[Any] | None = None

    def __enter__(self) -> RawTerminal:
        if self._wanted:
            self._saved = termios.tcgetattr(self._fd)
            raw = termios.tcgetattr(self._fd)
            raw[0] &= ~(
                termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
                | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
            )  # fmt: skip
            raw[1] &= ~termios.OPOST
            raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            raw[3] &= ~(
                termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
            )
            raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSADRAIN, raw)
        return self

    def restore(self) -> None:
        """Put the terminal back as it was; once."""
        saved, self._saved = self._saved, None
        if saved is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()


class SignalPipe:
    """Signals as bytes on a descriptor, for a `with` block."""

    def __init__(self, wanted: Sequence[int]) -> None:
        self._wanted = wanted
        self._before: dict[int, Any] = {}
        self._pipe = (-1, -1)

    def __enter__(self) -> SignalPipe:
        self._pipe = os.pipe()
        for fd in self._pipe:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in self._wanted:
            self._before[number] = signal.signal(number, _noted)
        return self

    def fileno(self) -> int:
        return self._pipe[0]

    def read(self) -> list[int]:
        """The numbers of the signals that came."""
        try:
            return list(os.read(self._pipe[0], 256))
        except BlockingIOError:
            return []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for fd in self._pipe:
            os.close(fd)


def _noted(number: int, frame: object) -> None:
    """The wake-up descriptor has told already."""


def all_signals() -> list[int]:
    """Every signal that docker's CLI passes on to a container."""
    names = [number.name for number in signal.Signals if number.name not in _KEPT]
    return [int(signal.Signals[name]) for name in names]


def signal_name(number: int) -> str:
    """`TERM` for 15."""
    return signal.Signals(number).name.removeprefix("SIG")


def death_signals() -> list[int]:
    """What ends a program that does not care, and must leave the terminal as it was."""
    return [int(signal.SIGTERM), int(signal.SIGHUP), int(signal.SIGINT), int(signal.SIGQUIT)]


def die_by(number: int, restore: Callable[[], None]) -> None:
    """End this process by signal `number`, with the terminal put back first."""
    restore()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
