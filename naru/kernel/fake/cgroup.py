"""Control groups in memory: the interface of `naru.kernel.cgroup.Cgroup`."""

from dataclasses import dataclass, field, replace

from naru.base.errors import Internal
from naru.kernel.cgroups.model import CgroupHost, CgroupLimits, CgroupStats, MemoryStats

FAKE_HOST = CgroupHost(
    2, False, frozenset({"cpu", "cpuset", "memory", "io", "pids"}), {}, "/sys/fs/cgroup"
)


@dataclass(slots=True)
class FakeGroups:
    """All groups of a host. `unkillable`: processes that survive SIGKILL (in the kernel)."""

    processes: dict[str, set[int]] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    stats: dict[str, CgroupStats] = field(default_factory=dict)
    limits: dict[str, list[CgroupLimits]] = field(default_factory=dict)
    unkillable: set[int] = field(default_factory=set)

    def below(self, path: str) -> list[str]:
        return [name for name in self.processes if name == path or name.startswith(f"{path}/")]


class FakeCgroup:
    """One group of FakeGroups."""

    def __init__(self, groups: FakeGroups, path: str) -> None:
        if not path.strip("/") or ".." in path.split("/"):
            raise ValueError(f"invalid cgroup path {path!r}")
        self._groups, self.path = groups, "/" + path.strip("/")

    def exists(self) -> bool:
        return self.path in self._groups.processes

    def create(self) -> None:
        current = ""
        for part in self.path.strip("/").split("/"):
            current = f"{current}/{part}"
            self._groups.processes.setdefault(current, set())

    def _require(self) -> None:
        if not self.exists():
            raise FileNotFoundError(2, "No such file or directory", self.path)

    def add(self, pid: int) -> None:
        self._require()
        for members in self._groups.processes.values():
            members.discard(pid)
        self._groups.processes[self.path].add(pid)

    def pids(self) -> list[int]:
        found = [self._groups.processes[name] for name in self._groups.below(self.path)]
        return sorted(set().union(*found))

    def read_stats(self) -> CgroupStats:
        stats = self._groups.stats.get(self.path, CgroupStats())
        return replace(stats, pids=len(self.pids()))

    def oom_kills(self) -> int:
        return self.read_stats().memory.oom_kills

    def update(self, limits: CgroupLimits) -> None:
        self._require()
        self._groups.limits.setdefault(self.path, []).append(limits)
        old = self._groups.stats.get(self.path, CgroupStats())
        memory = MemoryStats(
            usage_bytes=old.memory.usage_bytes,
            limit_bytes=_limit(limits.memory, old.memory.limit_bytes),
            oom_kills=old.memory.oom_kills,
        )
        pids_limit = _limit(None if limits.pids is None else limits.pids or -1, old.pids_limit)
        self._groups.stats[self.path] = replace(old, memory=memory, pids_limit=pids_limit)

    @property
    def frozen(self) -> bool:
        return self.path in self._groups.frozen

    def freeze(self) -> None:
        self._require()
        self._groups.frozen.add(self.path)

    def thaw(self) -> None:
        self._groups.frozen.discard(self.path)

    def kill_all(self) -> None:
        for name in self._groups.below(self.path):
            self._groups.processes[name] &= self._groups.unkillable
        self.thaw()

    def remove(self) -> None:
        if self.pids():
            raise Internal(f"cgroup {self.path} cannot be removed: processes {self.pids()} stay")
        for name in self._groups.below(self.path):
            del self._groups.processes[name]
            self._groups.frozen.discard(name)
            self._groups.stats.pop(name, None)


def _limit(new: int | None, old: int | None) -> int | None:
    if new is None:
        return old
    return None if new < 0 else new
