import pytest

from naru.base.errors import InvalidParameter
from naru.runtime.mounts import (
    OciMount,
    arrange,
    bind_mount,
    shm_mount,
    standard_mounts,
    tmpfs_mount,
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", "noexec nosuid nodev rprivate"),
        ("size=10m,mode=755", "noexec nosuid nodev rprivate size=10m mode=755"),
        ("exec", "nosuid nodev exec rprivate"),
        ("exec,noexec", "nosuid nodev noexec rprivate"),
        ("size=1m,size=2m", "noexec nosuid nodev rprivate size=2m"),
        ("shared,defaults", "noexec nosuid nodev shared"),
        ("ro,uid=5", "noexec nosuid nodev ro rprivate uid=5"),
    ],
)
def test_tmpfs_options(options: str, expected: str) -> None:
    mount = tmpfs_mount("/run", options)
    assert (mount.type, mount.source, mount.destination) == ("tmpfs", "tmpfs", "/run")
    assert " ".join(mount.options) == expected


@pytest.mark.parametrize(
    "option",
    ["foo", "size=foo", "mode=999", "size", "exec=1", "bind", "remount", "mpol=a,b", "uid=-1"],
)
def test_tmpfs_refuses(option: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid tmpfs option"):
        tmpfs_mount("/run", option)


def test_tmpfs_of_a_mount_field() -> None:
    mount = tmpfs_mount("/t", size_bytes=1 << 20, mode=0o1700, extra=[["exec"], ["uid", "5"]])
    assert mount.options == ("nosuid", "nodev", "exec", "rprivate", "uid=5", "mode=1700", "size=1m")
    assert tmpfs_mount("/t", size_bytes=1000).options[-1] == "size=1000"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("rbind",)),
        ({"read_only": True, "propagation": "rprivate"}, ("rbind", "rro", "rprivate")),
        ({"read_only": True, "read_only_recursive": False}, ("rbind", "ro")),
        ({"recursive": False, "propagation": "rslave"}, ("bind", "slave")),
        ({"recursive": False, "propagation": "shared"}, ("bind", "shared")),
    ],
)
def test_bind_options(fields: dict[str, bool], expected: tuple[str, ...]) -> None:
    assert bind_mount("/d", "/s", **fields).options == expected  # type: ignore[arg-type]


def destinations(mounts: list[OciMount]) -> list[str]:
    return [mount.destination for mount in mounts]


def test_order_parents_first_files_last() -> None:
    wanted = [bind_mount(path, "/s") for path in ("/a/b/c", "/z", "/a", "/etc/hosts")]
    files = [bind_mount("/etc/hosts", "/h"), bind_mount("/etc/hostname", "/n")]
    ordered = arrange(standard_mounts(shm_bytes=None), wanted, files)
    assert destinations(ordered)[-5:] == ["/z", "/a", "/etc/hosts", "/a/b/c", "/etc/hostname"]
    assert [m.source for m in ordered if m.destination == "/etc/hosts"] == ["/s"]


def test_wanted_mounts_replace_standard_ones() -> None:
    with_shm = arrange(standard_mounts(), [bind_mount("/dev/shm", "/s")], [])
    assert destinations(with_shm).count("/dev/shm") == 1
    whole = destinations(arrange(standard_mounts(), [bind_mount("/dev", "/dev")], []))
    assert [path for path in whole if path.startswith("/dev")] == ["/dev"]


def test_there_is_always_a_dev() -> None:
    for privileged in (False, True):
        for shm in (None, 1):
            assert "/dev" in destinations(
                list(standard_mounts(privileged=privileged, shm_bytes=shm))
            )


def test_read_only_system() -> None:
    plain = {mount.destination: mount.options for mount in standard_mounts()}
    assert "ro" in plain["/sys"] and "ro" in plain["/sys/fs/cgroup"]
    open_ = {mount.destination: mount.options for mount in standard_mounts(privileged=True)}
    assert "ro" not in open_["/sys"] and "ro" not in open_["/sys/fs/cgroup"]
    some = {mount.destination: mount.options for mount in standard_mounts(writable_cgroups=True)}
    assert "ro" in some["/sys"] and "ro" not in some["/sys/fs/cgroup"]


def test_shm_size() -> None:
    assert "size=67108864" in shm_mount(0).options
    assert "size=1024" in shm_mount(1024).options
