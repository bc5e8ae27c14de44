"""The mount table in memory: the interface of `naru.kernel.mount` as a class."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FakeMount:
    target: str
    kind: str
    source: str
    read_only: bool = False
    propagation: str = "private"
    options: tuple[str, ...] = ()


@dataclass(slots=True)
class FakeMounts:
    """`missing`: paths that a mount must find missing."""

    table: list[FakeMount] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)

    def _add(self, entry: FakeMount) -> None:
        for path in (entry.target, entry.source):
            if path in self.missing:
                raise OSError(errno.ENOENT, "No such file or directory", path)
        self.table.append(entry)

    def mount_overlay(
        self,
        target: str,
        lowers: Sequence[str],
        upper: str | None,
        work: str | None,
        *,
        options: Sequence[str] = (),
        read_only: bool = False,
    ) -> None:
        words = (f"lowerdir={':'.join(lowers)}", f"upperdir={upper}", f"workdir={work}", *options)
        self._add(FakeMount(target, "overlay", "overlay", read_only or upper is None, "", words))

    def bind(
        self,
        source: str,
        target: str,
        *,
        recursive: bool = True,
        read_only: bool = False,
        propagation: str | None = None,
    ) -> None:
        words = ("rbind",) if recursive else ("bind",)
        self._add(FakeMount(target, "bind", source, read_only, propagation or "private", words))

    def mount_tmpfs(self, target: str, options: str = "") -> None:
        self._add(FakeMount(target, "tmpfs", "tmpfs", options=tuple(options.split(","))))

    def unmount(self, target: str, *, lazy: bool = True) -> None:
        """`lazy=False` is refused while something is mounted below, as the kernel does."""
        if not lazy and self.mounts_below(target) and self.is_mount_point(target):
            raise OSError(errno.EBUSY, "Device or resource busy", target)
        for position in range(len(self.table) - 1, -1, -1):
            if self.table[position].target == target:
                del self.table[position]
                if lazy:
                    self._detach_below(target)
                return

    def _detach_below(self, target: str) -> None:
        prefix = target.rstrip("/") + "/"
        self.table = [entry for entry in self.table if not entry.target.startswith(prefix)]

    def make_shared(self, path: str) -> None:
        found = [entry for entry in self.table if entry.target == path]
        if not found:
            self._add(FakeMount(path, "bind", path, propagation="shared"))

    def mounts_below(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        found = [entry.target for entry in self.table if entry.target.startswith(prefix)]
        return sorted(found, key=lambda target: target.count("/"), reverse=True)

    def is_mount_point(self, path: str) -> bool:
        return any(entry.target == path for entry in self.table)
