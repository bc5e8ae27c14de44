import pytest

from naru.base.errors import InvalidParameter, NotFound
from naru.containers.model import Container
from naru.containers.mounts import parse_bind, parse_mount, resolve_mounts
from naru.spec.engine.container_config import (
    BindOptions,
    HostConfig,
    Mount,
    TmpfsOptions,
    VolumeOptions,
)


def nobody(name: str) -> Container:
    raise NotFound(f"No such container: {name}")


def test_a_bind() -> None:
    mount = parse_bind("/srv/x/../data:/data/:ro,rslave")
    assert (mount.type, mount.source, mount.destination) == ("bind", "/srv/data", "/data")
    assert (mount.rw, mount.propagation, "create" in mount.options) == (False, "rslave", True)


def test_a_named_and_an_anonymous_volume() -> None:
    named = parse_bind("db:/var/lib/db:nocopy")
    assert (named.type, named.name, named.no_copy) == ("volume", "db", True)
    nameless = parse_bind("/var/lib/db")
    assert nameless.anonymous and len(nameless.name) == 64


@pytest.mark.parametrize(
    "spec",
    ["", ":", "/a:", ":/a", "/a:b", "/a:/", "/a:/b:rx", "/a:/b:ro:rw", "vol:/x:rshared", "../v:/x"],
)
def test_bad_specifications_are_refused(spec: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_bind(spec)


def test_mount_forms() -> None:
    bind = parse_mount(Mount(type="bind", source="/a", target="/b", read_only=True))
    assert (bind.rw, bind.options, bind.propagation) == (False, (), "rprivate")
    made = BindOptions(create_mountpoint=True, non_recursive=True)
    bind = parse_mount(Mount(type="bind", source="/a", target="/b", bind_options=made))
    assert bind.options == ("create",) and not bind.recursive
    volume = parse_mount(
        Mount(type="volume", source="vol", target="/v", volume_options=VolumeOptions(no_copy=True))
    )
    assert volume.no_copy and volume.name == "vol"
    tmpfs = parse_mount(
        Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o1770))
    )
    assert tmpfs.options == ("size=4096", "mode=1770")


@pytest.mark.parametrize(
    "mount",
    [
        Mount(type="bind", target="/b"), Mount(type="bind", source="a", target="/b"),
        Mount(type="volume"), Mount(type="tmpfs", source="/a", target="/b"),
        Mount(type="npipe", source="a", target="/b"), Mount(type="image", target="/b"),
    ],
)  # fmt: skip
def test_bad_mounts_are_refused(mount: Mount) -> None:
    with pytest.raises(InvalidParameter):
        parse_mount(mount)


def test_image_volumes_fill_only_what_is_free() -> None:
    host = HostConfig(binds=["/srv:/data"], tmpfs={"/scratch": ""})
    mounts = resolve_mounts(host, {"/data": {}, "/scratch": {}, "/other": {}}, nobody)
    assert [(mount.type, mount.destination) for mount in mounts] == [
        ("bind", "/data"), ("volume", "/other"),
    ]  # fmt: skip


def test_one_destination_once() -> None:
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /data"):
        resolve_mounts(HostConfig(binds=["/a:/data", "vol:/data"]), {}, nobody)
