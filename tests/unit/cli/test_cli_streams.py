"""Stream frames, detach keys, and bytes both ways between a terminal and a hijacked connection."""

import os
import pty
import signal
import socket
import termios
import threading

import pytest

from naru.cli.streams import Demultiplexer, Pump
from naru.cli.terminal import DetachFilter, RawTerminal, SignalPipe, parse_detach_keys
from naru.http.client import Hijacked


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def test_frames_are_parted_wherever_they_are_cut() -> None:
    whole = frame(1, b"out") + frame(2, b"err") + frame(1, b"") + frame(1, b"more")
    for cut in range(len(whole)):
        out, err = bytearray(), bytearray()
        frames = Demultiplexer(out.extend, err.extend)
        frames.feed(whole[:cut])
        frames.feed(whole[cut:])
        assert (bytes(out), bytes(err)) == (b"outmore", b"err")


def test_an_error_in_the_stream_is_raised() -> None:
    frames = Demultiplexer(lambda data: None, lambda data: None)
    with pytest.raises(ValueError, match="error from daemon in stream: no"):
        frames.feed(frame(3, b"no"))


def test_what_a_cut_frame_held_is_shown() -> None:
    out = bytearray()
    frames = Demultiplexer(out.extend, out.extend)
    frames.feed(frame(1, b"half gone")[:-5])
    frames.finish()
    assert bytes(out) == b"half"


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("ctrl-[,x", b"\x1bx"), ("ctrl-@", b"\0")],
)
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["foo", "", "ctrl-", "ctrl-1", "é", "a,,b"])
def test_wrong_detach_keys(text: str) -> None:
    with pytest.raises(ValueError, match="Unknown character"):
        parse_detach_keys(text)


def test_detach_keys_are_found_across_reads_and_near_misses_pass() -> None:
    keys = DetachFilter(b"\x10\x11")
    assert keys.feed(b"ab\x10") == (b"ab", False)
    assert keys.feed(b"c") == (b"\x10c", False)
    assert keys.feed(b"\x10\x10") == (b"\x10", False)
    assert keys.feed(b"\x11rest") == (b"", True)


def test_raw_mode_is_undone_after_a_failure() -> None:
    leader, follower = pty.openpty()
    try:
        before = termios.tcgetattr(follower)
        with pytest.raises(RuntimeError), RawTerminal(follower, True):
            assert not termios.tcgetattr(follower)[3] & termios.ECHO
            raise RuntimeError
        assert termios.tcgetattr(follower) == before
    finally:
        os.close(leader)
        os.close(follower)


def test_signals_come_as_bytes_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with SignalPipe([signal.SIGUSR1]) as pipe:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert pipe.read() == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_peer_that_echoes_much_never_locks_up() -> None:
    ours, theirs = socket.socketpair()
    size = 4 << 20
    read_end, write_end = os.pipe()

    def echo() -> None:
        with theirs:
            while data := theirs.recv(65536):
                theirs.sendall(data)

    def type_in() -> None:
        with os.fdopen(write_end, "wb") as typed:
            typed.write(b"x" * size)

    threads = [threading.Thread(target=work) for work in (echo, type_in)]
    for thread in threads:
        thread.start()
    received = bytearray()
    try:
        with SignalPipe([]) as signals:
            peer = Hijacked(ours, b"first")
            Pump(peer, read_end, received.extend, signals, lambda number: None).run()
    finally:
        os.close(read_end)
        ours.close()
        for thread in threads:
            thread.join()
    assert len(received) == size + len(b"first")
    assert received.startswith(b"firstx")


def test_detaching_leaves_the_rest_unsent() -> None:
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    os.write(write_end, b"ls\n\x10\x11more")
    with SignalPipe([]) as signals:
        pump = Pump(
            Hijacked(ours, b""), read_end, lambda data: None, signals, lambda number: None,
            b"\x10\x11",
        )  # fmt: skip
        pump.run()
    assert pump.detached
    assert theirs.recv(100) == b"ls\n"
    for fd in (read_end, write_end):
        os.close(fd)
    ours.close()
    theirs.close()
