"""Reads the seccomp filter of a running process, and runs filters on made-up system calls."""

import ctypes
import os
import signal
import struct

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
X86_64, I386 = 0xC000003E, 0x40000003
_ATTACH, _DETACH, _GET_FILTER = 16, 17, 0x420C
_INSTRUCTION = struct.Struct("=HBBI")


def filter_of(pid: int) -> bytes:
    """struct sock_filter[] of the last filter of process `pid`; b"" if it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(_ATTACH, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace attach")
    try:
        os.waitpid(pid, 0x40000000)  # __WALL
        count = libc.ptrace(_GET_FILTER, pid, None, None)
        if count < 0:
            return b""
        buffer = ctypes.create_string_buffer(count * _INSTRUCTION.size)
        libc.ptrace(_GET_FILTER, pid, None, buffer)
        return buffer.raw
    finally:
        libc.ptrace(_DETACH, pid, None, None)
        os.kill(pid, signal.SIGCONT)


class Filter:
    """A program and what it says about a call."""

    def __init__(self, program: bytes) -> None:
        self.code = list(_INSTRUCTION.iter_unpack(program))

    def decide(self, arch: int, number: int, argument: int = 0) -> str:
        """`allow`, `errno N` or `kill`."""
        data = struct.pack("=IIQ6Q", number, arch, 0, argument, 0, 0, 0, 0, 0)
        action = self._run(data)
        kind, value = action & 0xFFFF0000, action & 0xFFFF
        return {ALLOW: "allow", ERRNO: f"errno {value}"}.get(kind, "kill")

    def _run(self, data: bytes) -> int:
        a = x = at = 0
        memory = [0] * 16
        while True:
            op, yes, no, k = self.code[at]
            at += 1
            match op:
                case 0x20:
                    (a,) = struct.unpack_from("=I", data, k)
                case 0x06:
                    return k
                case 0x05:
                    at += k
                case 0x15:
                    at += yes if a == k else no
                case 0x25:
                    at += yes if a > k else no
                case 0x35:
                    at += yes if a >= k else no
                case 0x45:
                    at += yes if a & k else no
                case 0x54:
                    a &= k
                case 0x02:
                    memory[k] = a
                case 0x60:
                    a = memory[k]
                case 0x61:
                    x = memory[k]
                case 0x07:
                    x = a
                case 0x87:
                    a = x
                case _:
                    raise AssertionError(f"unknown instruction {op:#x}")
