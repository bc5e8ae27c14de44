"""Sandboxes that belong to a user namespace."""

import os
import subprocess

import pytest
from network_lab import Lab, ask, container_id, in_lab, request, serving

from naru.base.idmap import IdMap, IdRange
from naru.network.model import SandboxOwner

pytestmark = pytest.mark.root

MAP = IdMap((IdRange(0, 700_000, 65_536),), (IdRange(0, 700_000, 65_536),))


def as_root_inside(user: str, net: str, *words: str) -> int:
    """The status of a command of the container's root."""
    argv = ["nsenter", f"--user={user}", f"--net={net}", *words]
    return subprocess.run(argv, check=False, capture_output=True).returncode


def pins(lab: Lab, engine: str) -> list[str]:
    found = [os.listdir(os.path.join(lab.root, engine, name)) for name in ("netns", "userns")]
    return sorted(found[0] + found[1])


@in_lab
async def test_the_owners_root_is_root_of_the_sandbox(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80", owner=SandboxOwner(MAP)))
        assert web.sandbox_path
        with serving(web.sandbox_path):
            assert ask("127.0.0.1", 8080) == "172.17.0.1"
        add = ("ip", "address", "add", "10.9.9.9/32", "dev", "lo")
        assert as_root_inside(web.owner_path, web.sandbox_path, *add) == 0
        second = await network.membership.attach(
            request("second", owner=SandboxOwner(MAP, path=web.owner_path), mode="none")
        )
        assert second.owner_path == web.owner_path
        assert as_root_inside(web.owner_path, second.sandbox_path or "", *add) == 0
        plain = await network.membership.attach(request("plain"))
        assert plain.owner_path == ""
        assert as_root_inside(web.owner_path, plain.sandbox_path or "", *add) != 0
        for name in ("second", "web", "plain"):
            await network.membership.detach(container_id(name))
        assert not pins(lab, "a")


@in_lab
async def test_owners_outlive_the_engine_with_their_sandbox(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", owner=SandboxOwner(MAP)))
        await network.membership.attach(request("lost", owner=SandboxOwner(MAP)))
    async with lab.engine(keep={container_id("web"): web}) as network:
        assert pins(lab, "a") == [container_id("web")] * 2
        await network.membership.detach(container_id("web"))
        assert not pins(lab, "a")
