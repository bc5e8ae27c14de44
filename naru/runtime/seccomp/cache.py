"""Compiled seccomp filters: no start waits for a compiler.

    <folder>/<key>.bpf     32 bytes SHA-256 of what follows, then struct sock_filter[]

Where `naru.runtime.seccomp.compiler` cannot write the program, the runtime's own is kept: crun
leaves the filter that it compiled in the container's state folder; handed back to it as an
annotation it is installed as it is, which saves 11 ms of a start. The key covers everything that
the filter depends on: the whole profile (and with it capabilities and kernel), architecture and
runtime version. A file that is not exactly what was written is removed and compiled again.
"""

import base64
import contextlib
import hashlib
import os
import struct
from collections.abc import Mapping
from typing import Any

from msgspec import json

from naru.kernel.files import read_file_limited, write_atomic
from naru.runtime.seccomp.compiler import compile_profile

FILTER_FILE = "seccomp.bpf"
_INSTRUCTION = struct.Struct("=HBBI")
_MAX_BYTES = 4096 * _INSTRUCTION.size  # BPF_MAXINSNS
_DIGEST_BYTES = 32
_LOAD_WORD, _RETURN = 0x20, 0x06
_OFFSET_ARCH = 4  # of struct seccomp_data
_LOAD_ARCH = (_LOAD_WORD, 0, 0, _OFFSET_ARCH)


class SeccompCache:
    """One folder of compiled filters; `runtime_version` as the runtime prints it."""

    def __init__(self, folder: str, runtime_version: str, machine: str) -> None:
        self._folder = folder
        self._machine = machine
        self._salt = f"{runtime_version}\n{machine}\n".encode()
        self._keys: dict[int, tuple[Mapping[str, Any], str]] = {}
        self._filters: dict[str, str] = {}
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def key(self, profile: Mapping[str, Any]) -> str:
        """The name of this profile's filter. Profiles are shared values that nobody changes."""
        known = self._keys.get(id(profile))
        if known is not None and known[0] is profile:
            return known[1]
        key = hashlib.sha256(self._salt + json.encode(profile)).hexdigest()
        if len(self._keys) >= 256:
            self._keys.clear()
        self._keys[id(profile)] = (profile, key)
        program = compile_profile(profile, self._machine)
        if program is not None:
            self._filters[key] = base64.b64encode(program).decode()
        return key

    def get(self, key: str) -> str | None:
        """The filter as base64 text for the annotation; None when it was never learnt."""
        cached = self._filters.get(key)
        if cached is not None:
            return cached
        path = self._path(key)
        try:
            content = read_file_limited(path, _MAX_BYTES + _DIGEST_BYTES)
        except OSError:
            return None
        program = content[_DIGEST_BYTES:]
        if hashlib.sha256(program).digest() != content[:_DIGEST_BYTES] or not is_filter(program):
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        self._filters[key] = text = base64.b64encode(program).decode()
        return text

    def learn(self, key: str, container_state_dir: str) -> bool:
        """Keep the filter that the runtime compiled for a container; True if there was one."""
        if key in self._filters:
            return True
        try:
            program = read_file_limited(os.path.join(container_state_dir, FILTER_FILE), _MAX_BYTES)
        except OSError:
            return False
        if not is_filter(program):
            return False
        with contextlib.suppress(OSError):  # a full disk costs speed only
            write_atomic(self._path(key), hashlib.sha256(program).digest() + program)
        self._filters[key] = base64.b64encode(program).decode()
        return True

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, f"{key}.bpf")


def is_filter(program: bytes) -> bool:
    """True for a plausible seccomp program: it looks at the architecture first and it returns.

    Not a verifier (the kernel is one): it catches empty, cut and foreign files.
    """
    size = _INSTRUCTION.size
    if not 2 * size <= len(program) <= _MAX_BYTES or len(program) % size:
        return False
    first = _INSTRUCTION.unpack_from(program, 0)
    last = _INSTRUCTION.unpack_from(program, len(program) - size)
    return first == _LOAD_ARCH and last[0] == _RETURN
