"""Links on a parent interface, made by the real kernel inside a namespace."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from naru.kernel import netns
from naru.kernel.netlink.client import Netlink
from naru.kernel.netlink.sublink import create_sublink, knows_sublink

pytestmark = pytest.mark.root


@pytest.fixture
def place(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """`home`: a namespace that plays the host, with a parent; `pin`: a sandbox."""
    home, pin = str(tmp_path / "home"), str(tmp_path / "pin")
    netns.create_netns(home)
    netns.create_netns(pin)
    host = netns.run_in_netns(home, Netlink)
    inside = netns.run_in_netns(pin, Netlink)
    fd = netns.open_netns(pin)
    try:
        other = netns.open_netns(home)
        host.create_veth("par0", None, other, "par1")
        os.close(other)
        yield SimpleNamespace(home=home, host=host, inside=inside, fd=fd, pin=pin)
    finally:
        os.close(fd)
        host.close()
        inside.close()
        netns.remove_netns(pin)
        netns.remove_netns(home)


def make(place: SimpleNamespace, name: str, parent: int, mode: str = "bridge") -> None:
    def work() -> None:
        create_sublink("macvlan", mode, parent, place.fd, name, mac="02:42:ac:1e:05:02", mtu=1400)

    netns.run_in_netns(place.home, work)


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa"])
def test_a_link_on_a_parent_is_made_inside(place: SimpleNamespace, mode: str) -> None:
    make(place, "eth0", place.host.link_index("par0"), mode)
    link = place.inside.link("eth0")
    assert (link.kind, link.mtu, link.mac) == ("macvlan", 1400, "02:42:ac:1e:05:02")
    assert not link.up
    assert place.host.link("eth0") is None


def test_a_name_that_is_taken_inside(place: SimpleNamespace) -> None:
    parent = place.host.link_index("par0")
    make(place, "eth0", parent)
    with pytest.raises(OSError) as caught:
        make(place, "eth0", parent)
    assert caught.value.errno == errno.EEXIST


def test_a_parent_that_is_not_there(place: SimpleNamespace) -> None:
    with pytest.raises(OSError) as caught:
        make(place, "eth0", 9999)
    assert caught.value.errno == errno.ENODEV
    assert place.inside.link("eth0") is None


def test_what_the_kernel_knows_is_asked_and_nothing_is_made(place: SimpleNamespace) -> None:
    def ask() -> tuple[bool, bool]:
        return knows_sublink("macvlan"), knows_sublink("no-such-kind")

    assert netns.run_in_netns(place.home, ask) == (True, False)
    assert {link.name for link in place.host.links()} == {"lo", "par0", "par1"}


def test_a_kind_that_the_kernel_lacks_is_named(place: SimpleNamespace) -> None:
    if netns.run_in_netns(place.home, knows_sublink, "ipvlan"):
        return
    parent = place.host.link_index("par0")

    def work() -> None:
        create_sublink("ipvlan", "l2", parent, place.fd, "eth0", mac="", mtu=1500)

    with pytest.raises(OSError, match="this host's kernel has no ipvlan links"):
        netns.run_in_netns(place.home, work)
