"""A container's or an exec's streams on our terminal: what `run`, `start -a`, `attach` and `exec`
have in common."""

from __future__ import annotations

import signal
import sys

from naru.base.errors import NaruError
from naru.cli.command import CommandError
from naru.cli.streams import Demultiplexer, Pump, await_body, write_all
from naru.cli.terminal import (
    DEFAULT_DETACH_KEYS,
    RawTerminal,
    SignalPipe,
    all_signals,
    death_signals,
    die_by,
    is_terminal,
    parse_detach_keys,
    signal_name,
    size,
)
from naru.client import containers
from naru.client.wire import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from naru.cli.session import Session
    from naru.client.engine import Engine
    from naru.http.client import Hijacked, Response


def check_terminal(attach_stdin: bool, tty: bool) -> None:
    """Raises: CommandError when a terminal is asked for and standard input is none."""
    if attach_stdin and tty and not is_terminal(0):
        raise CommandError("the input device is not a TTY")


def detach_keys(session: Session, given: str) -> str:
    """The detach keys in force as the API takes them, empty for the engine's own.

    Raises: CommandError for keys that are none.
    """
    text = given or session.config_text("detachKeys")
    if text:
        try:
            parse_detach_keys(text)
        except ValueError as error:
            raise CommandError(f"invalid detach keys provided: {error}") from error
    return text


class Attached:
    """Streams of one container (or exec) on our own, with signals and terminal size passed on.

    Use as a context manager: raw mode and signal handlers hold within. `resize` tells the engine
    the terminal's height and width.
    """

    def __init__(
        self,
        tty: bool,
        stdin: bool,
        keys: str,
        resize: Callable[[int, int], None],
        forward: Callable[[str], None] | None,
    ) -> None:
        self._tty, self._stdin = tty, stdin
        self._keys = parse_detach_keys(keys or DEFAULT_DETACH_KEYS)
        self._resize, self._forward = resize, forward
        self._size = (0, 0)
        wanted = all_signals() if forward is not None else death_signals()
        if forward is None and not tty:
            wanted = []
        if tty and int(signal.SIGWINCH) not in wanted:
            wanted.append(int(signal.SIGWINCH))
        self._signals = SignalPipe(wanted)
        self._raw = RawTerminal(0, tty and stdin)

    def __enter__(self) -> Attached:
        self._signals.__enter__()
        self._raw.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._raw.restore()
        self._signals.__exit__(None, None, None)

    def tell_size(self) -> None:
        """Tell the engine our terminal's size, when there is one and it changed."""
        if not self._tty:
            return
        now = size()
        if now == (0, 0) or now == self._size:
            return
        try:
            self._resize(*now)
        except NaruError:
            return
        self._size = now

    def redraw(self) -> None:
        """Make the program at the other end draw itself anew: another size, then ours."""
        height, width = size() if self._tty else (0, 0)
        if height:
            try:
                self._resize(height + 1, width + 1)
            except NaruError:
                return
        self.tell_size()

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self.tell_size()
        elif self._forward is not None:
            try:
                self._forward(signal_name(number))
            except (NaruError, ValueError):
                return
        else:
            die_by(number, self._raw.restore)

    def stream(self, peer: Hijacked) -> bool:
        """Move bytes until the peer ends; whether the user detached. Raises: CommandError."""
        sys.stdout.flush()
        demultiplexer = Demultiplexer(lambda data: write_all(1, data), lambda d: write_all(2, d))
        keys = self._keys if self._tty and is_terminal(0) else b""
        feed = (lambda data: write_all(1, data)) if self._tty else demultiplexer.feed
        pump = Pump(peer, 0 if self._stdin else None, feed, self._signals, self._on_signal, keys)
        try:
            pump.run()
            demultiplexer.finish()
        except ValueError as error:
            raise CommandError(str(error)) from error
        finally:
            peer.close()
            self._raw.restore()
        return pump.detached

    def exit_code(self, waiting: Response) -> int:
        """The status that the engine's wait tells. Raises: CommandError."""
        await_body(waiting, self._signals, self._on_signal)
        return read_exit(waiting)


def read_exit(waiting: Response) -> int:
    """The exit status in a wait's answer. Raises: CommandError."""
    try:
        found = decode(waiting.read())
    except (OSError, ValueError) as error:
        raise CommandError(f"Error waiting for container: {error}", 125) from error
    problem = found.get("Error")
    if problem and problem.get("Message"):
        raise CommandError(f"Error waiting for container: {problem['Message']}", 125)
    code: int = found["StatusCode"]
    return code


def of_container(
    engine: Engine, name: str, tty: bool, stdin: bool, keys: str, proxy: bool
) -> Attached:
    """The streams of container `name`; `proxy`: signals are passed on to it."""
    forward = (lambda text: containers.kill(engine, name, text)) if proxy else None
    return Attached(
        tty, stdin, keys, lambda height, width: containers.resize(engine, name, height, width),
        forward,
    )  # fmt: skip


def attach_parameters(stdin: bool, stdout: bool, stderr: bool, keys: str) -> dict[str, Any]:
    """The query of an attach, as docker's CLI writes it."""
    chosen: dict[str, Any] = {"stream": True}
    chosen.update({
        name: True for name, on in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)) if on
    })  # fmt: skip
    if keys:
        chosen["detachKeys"] = keys
    return chosen
