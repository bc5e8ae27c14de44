"""Volumes of the driver `local` that have a device: mounts that exist while they are used.

    <mount root>/NAME     where such a volume is mounted

Everything here blocks, and is to be called in a thread.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Collection, Mapping

from naru.base.errors import Internal
from naru.kernel.mount import is_mount_point, unmount
from naru.kernel.mount_options import mount_device, split_words
from naru.storage.volumes import local_options


class LocalMounts:
    """`shown(name)` is the volume's directory as errors call it."""

    def __init__(self, mount_root: str, shown: Callable[[str], str]) -> None:
        self._mount_root, self._shown = mount_root, shown

    def _mount_point(self, name: str) -> str:
        return os.path.join(self._mount_root, name)

    def mount(self, name: str, options: Mapping[str, str]) -> str:
        """Where the volume's device is mounted; idempotent. Raises: Internal naming the option."""
        target = self._mount_point(name)
        os.makedirs(target, 0o755, exist_ok=True)
        if is_mount_point(os.path.realpath(target)):
            return target
        shown = self._shown(name)
        words = _with_address(shown, options)
        kind, device = options.get("type", ""), options["device"]
        try:
            mount_device(kind, device, target, words)
        except OSError as error:
            raise Internal(
                f"error while mounting volume '{shown}': failed to mount local volume: mount "
                f"{device}:{shown}{_told(options)}: {_reason(kind, error)}"
            ) from error
        return target

    def unmount(self, name: str) -> None:
        """Idempotent."""
        target = self._mount_point(name)
        while is_mount_point(target):
            unmount(target)
        with contextlib.suppress(OSError):
            os.rmdir(target)

    def unmount_all_but(self, held: Collection[str]) -> None:
        """Let go of what an earlier engine mounted and nobody uses."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._mount_root):
                if name not in held:
                    self.unmount(name)


def _with_address(shown: str, options: Mapping[str, str]) -> list[str]:
    """The words of `o`, with the address that the kernel wants for `addr=name`."""
    words = []
    for word in local_options.words(options):
        key, equals, value = word.partition("=")
        if key == "addr" and equals and options.get("type") in local_options.NETWORKED:
            try:
                word = f"addr={socket.getaddrinfo(value, None)[0][4][0]}"
            except OSError as error:
                raise Internal(
                    f"error while mounting volume '{shown}': error resolving passed in network "
                    f"volume address: lookup {value}: {(error.strerror or str(error)).lower()}"
                ) from error
        words.append(word)
    return words


def _told(options: Mapping[str, str]) -> str:
    """What the kernel was told, as Docker shows it: the data without secrets, and the flags."""
    flags, _ = split_words(local_options.words(options))
    _, data = split_words(local_options.shown_data(options).split(","))
    text = f", data: {','.join(data)}" if any(data) else ""
    return f"{text}, flags: {flags:#x}" if flags else text


def _reason(kind: str, error: OSError) -> str:
    text = (error.strerror or str(error)).lower()
    if error.errno == errno.ENODEV and kind not in ("none", ""):
        return f"{text} (the kernel knows no file system of type {kind})"
    return text
