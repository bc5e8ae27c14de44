"""What others do to the host, and what a crash leaves: put back, taken away."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from network_lab import (
    HOST,
    HOST6,
    Lab,
    ask,
    container_id,
    eventually,
    in_lab,
    links,
    make,
    on,
    request,
    run_in_lab,
    serving,
)

from naru.base.errors import Forbidden, NaruError
from naru.base.failpoints import DECLARED
from naru.kernel import netns
from naru.kernel.nft import Nft
from naru.network.model import Attachment
from naru.network.service import NetworkService
from naru.spec.engine.container_config import EndpointSettings

pytestmark = pytest.mark.root

POINTS = sorted(name for name in DECLARED if name.startswith("network."))


def run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def told_inside(pin: str) -> list[str]:
    """Addresses and routes of a sandbox, as `ip` prints them."""
    inside = ("nsenter", f"--net={pin}", "ip")
    return [
        subprocess.check_output([*inside, *words], text=True)
        for words in (["-brief", "address"], ["route"], ["-6", "route"])
    ]


@in_lab
async def test_a_flushed_ruleset_is_back_at_once(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        with serving(web.sandbox_path):
            run("nft", "flush", "ruleset")
            took = await eventually(lambda: ask(HOST, 8080, timeout_s=0.1) is not None, "table")
            assert took < 1
            assert ask("::1", 8080) is not None


@in_lab
async def test_a_changed_table_is_put_back_and_others_are_left(lab: Lab) -> None:
    async with lab.engine() as network:
        await network.membership.attach(request("web", "8080:80"))
        nft = Nft()
        before = nft.text("list chain inet naru_a forwarding")
        nft.run("table inet mine { chain x { type filter hook input priority 0; accept; }; }")
        nft.run("flush chain inet naru_a forwarding")
        await eventually(
            lambda: nft.text("list chain inet naru_a forwarding") == before, "the chain"
        )
        nft.run("delete element inet naru_a published_any { tcp . 8080 }")
        await eventually(
            lambda: "8080" in nft.text("list map inet naru_a published_any"), "the element"
        )
        assert "accept" in nft.text("list table inet mine")
        nft.close()


@in_lab
async def test_own_changes_are_not_taken_for_others(lab: Lab) -> None:
    async with lab.engine() as network:
        nft = Nft()
        comment = nft.text("list table inet naru_a").splitlines()[1]
        for number in range(20):
            await network.membership.attach(request(f"c{number}", f"127.0.0.1:{8000 + number}:80"))
        for number in range(20):
            await network.membership.detach(container_id(f"c{number}"))
        await eventually(lambda: not links(lab), "links")
        assert nft.text("list table inet naru_a").splitlines()[1] == comment
        nft.close()


@in_lab
async def test_a_deleted_bridge_is_back_with_its_links(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        with serving(web.sandbox_path):
            run("ip", "link", "delete", "naru-a")
            await eventually(lambda: ask(HOST, 8080, timeout_s=0.1) is not None, "the bridge")


@in_lab
async def test_a_lost_link_and_address_are_put_back(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        with serving(web.sandbox_path):
            run("ip", "link", "delete", links(lab).pop())
            await eventually(lambda: ask(HOST, 8080, timeout_s=0.1) is not None, "the link")
            run("ip", "address", "flush", "dev", "naru-a")
            await eventually(lambda: ask(HOST, 8080, timeout_s=0.1) is not None, "the address")
            run("ip", "link", "set", "naru-a", "down")
            await eventually(lambda: ask(HOST, 8080, timeout_s=0.1) is not None, "the bridge up")


@in_lab
async def test_everything_of_two_networks_is_put_back(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", "172.30.1.0/24", "fd00:7:1::/64")
        await make(network, "two", "172.30.2.0/24")
        asked = request("web", "8080:80", mode="one", on=on("one", "two"))
        web = await network.membership.attach(asked)
        near = await network.membership.attach(request("near", mode="two"))
        index = {name: network.inspect(name).id[:6] for name in ("one", "two")}
        bridges = {
            name: next(item.name for item in lab.netlink.links() if item.name.endswith(tail))
            for name, tail in index.items()
        }

        def whole() -> bool:
            return (
                ask(HOST, 8080, timeout_s=0.1) == HOST
                and ask(HOST6, 8080, timeout_s=0.1) == HOST6
                and ask("::1", 8080, timeout_s=0.1) is not None
                and ask("172.30.2.2", 80, pin=near.sandbox_path, timeout_s=0.1) == "172.30.2.3"
                and ask("172.30.1.2", 80, pin=lab.outside, timeout_s=0.05) is None
            )

        with serving(web.sandbox_path, ipv6=True):
            assert whole()
            run("nft", "flush", "ruleset")
            await eventually(whole, "the table")
            for name in ("one", "two"):
                run("ip", "link", "delete", bridges[name])
                await eventually(whole, f"the bridge of {name}")
            for link in sorted(links(lab)):
                run("ip", "link", "delete", link)
                await eventually(whole, f"link {link}")
            for bridge in bridges.values():
                run("ip", "address", "flush", "dev", bridge)
                await eventually(whole, f"addresses of {bridge}")
                run("ip", "link", "set", bridge, "down")
                await eventually(whole, f"{bridge} up")
            await network.membership.connect(container_id("near"), "one", EndpointSettings())
            assert ask("172.30.1.2", 80, pin=near.sandbox_path) == "172.30.1.3"


@in_lab
async def test_a_restart_keeps_networks_addresses_routes_and_ports(lab: Lab) -> None:
    async with lab.engine() as network:
        await make(network, "one", "172.30.1.0/24", "fd00:7:1::/64")
        await make(network, "two", "172.30.2.0/24")
        asked = request("web", "8080:80", mode="one", on=on("one", "two"))
        web = await network.membership.attach(asked)
        web = await network.membership.disconnect(container_id("web"), "two")
        web = await network.membership.connect(container_id("web"), "two", EndpointSettings())
        shown = {item.name: item for item in network.networks()}
    pin = web.sandbox_path or ""
    before = told_inside(pin)
    with serving(pin, ipv6=True):
        for address in (HOST, HOST6, "::1"):
            assert ask(address, 8080) is not None, "ports are served while no engine runs"
        async with lab.engine(keep={container_id("web"): web}) as network:
            assert {item.name: item for item in network.networks()} == shown
            for address in (HOST, HOST6, "::1"):
                assert ask(address, 8080) is not None
            other = await network.membership.attach(request("other", mode="two"))
            mine = web.endpoints["two"].ip_address
            assert (mine, other.endpoints["two"].ip_address) == ("172.30.2.3", "172.30.2.4")
            assert ask(mine, 80, pin=other.sandbox_path) == "172.30.2.4"
            members = {item.name for item in network.inspect("two").containers.values()}
            assert members == {"web", "other"}
            assert told_inside(pin) == before
            with pytest.raises(Forbidden, match="active endpoints"):
                await network.remove("one")
            for name in ("web", "other"):
                await network.membership.detach(container_id(name))
            for name in ("one", "two"):
                await network.remove(name)
            await clean(lab)


@in_lab
async def test_a_killed_relay_is_replaced(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        state = Path(lab.root, "a", "relay.json")
        first = json.loads(state.read_text())["pid"]
        with serving(web.sandbox_path):
            assert ask("::1", 8080) is not None
            os.kill(first, signal.SIGKILL)
            await eventually(lambda: ask("::1", 8080, timeout_s=0.1) is not None, "the relay")
        assert json.loads(state.read_text())["pid"] != first


@in_lab
async def test_a_restarted_engine_adopts_what_runs(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
        relay = json.loads(Path(lab.root, "a", "relay.json").read_text())["pid"]
    with serving(web.sandbox_path):
        assert ask(HOST, 8080) == HOST, "ports are served while no engine runs"
        assert ask("::1", 8080) is not None
        async with lab.engine(keep={container_id("web"): web}) as network:
            assert ask(HOST, 8080) == HOST
            assert ask("::1", 8080) is not None
            assert json.loads(Path(lab.root, "a", "relay.json").read_text())["pid"] == relay
            assert network.audit.holder_of(8080) == "container web"
            other = await network.membership.attach(request("other"))
            assert other.endpoints["bridge"].ip_address == "172.17.0.3"
            assert network.inspect("bridge").containers[container_id("web")].name == "web"
            await network.membership.detach(container_id("web"))
            await network.membership.detach(container_id("other"))
            await eventually(lambda: not links(lab), "links")
            assert ask(HOST, 8080, timeout_s=0.1) is None
    assert not Path(lab.root, "a", "relay.json").exists()


@in_lab
async def test_no_request_fails_while_the_engine_restarts(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
    failed: list[str] = []
    asked, stop = 0, threading.Event()

    def hammer() -> None:
        nonlocal asked
        while not stop.is_set():
            for address in ("127.0.0.1", HOST, "::1"):
                asked += 1
                if ask(address, 8080) is None:
                    failed.append(address)

    with serving(web.sandbox_path):
        thread = threading.Thread(target=hammer)
        thread.start()
        try:
            for _ in range(5):
                async with lab.engine(keep={container_id("web"): web}) as network:
                    await network.membership.attach(request("other", "8081:80"))
                    await network.membership.detach(container_id("other"))
        finally:
            stop.set()
            thread.join()
    assert asked > 100
    assert failed == []


@in_lab
async def test_what_nobody_owns_is_removed_at_start(lab: Lab) -> None:
    async with lab.engine() as network:
        await network.membership.attach(request("web", "8080:80"))
        await network.membership.attach(request("quiet", mode="none"))
    assert links(lab)
    async with lab.engine():
        await eventually(lambda: not links(lab), "links")
        assert os.listdir(os.path.join(lab.root, "a", "netns")) == []
        nft = Nft()
        assert "8080" not in nft.text("list table inet naru_a")
        nft.close()


@in_lab
async def test_a_link_goes_though_somebody_joined_the_sandbox(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web"))
        joined = netns.open_netns(web.sandbox_path or "")
        await network.membership.detach(container_id("web"))
        await eventually(lambda: not links(lab), "the link")
        os.close(joined)


async def life(network: NetworkService) -> None:
    """Passes every failpoint: a network comes, two containers are on it, it goes."""
    await make(network, "mine")
    for name in ("web", "api"):
        await network.membership.attach(request(name, f"{8000 + len(name)}:80", mode="mine"))
        await network.membership.connect(container_id(name), "bridge", EndpointSettings())
        await network.membership.disconnect(container_id(name), "bridge")
        await network.membership.detach(container_id(name))
        if name == "web":
            await network.membership.detach(container_id(name))
    await network.remove("mine")


async def crash(lab: Lab) -> None:
    """Runs with a failpoint that kills."""
    async with lab.engine() as network:
        for number in range(2):
            await life(network)
            assert number == 0, "the failpoint was not passed"


async def fail(lab: Lab) -> None:
    """Runs with a failpoint that fails once: told, undone, and the second life is a whole one."""
    async with lab.engine() as network:
        try:
            await life(network)
        except (OSError, NaruError) as error:
            assert "failpoint" in str(error), error
        for name in ("web", "api"):
            await network.membership.detach(container_id(name))
        if any(item.name == "mine" for item in network.networks()):
            await network.remove("mine")
        await clean(lab)
        await life(network)
        await clean(lab)


async def clean(lab: Lab) -> None:
    await eventually(lambda: not links(lab), "links")
    assert os.listdir(os.path.join(lab.root, "a", "netns")) == []
    bridges = {item.name for item in lab.netlink.links() if item.kind == "bridge"}
    assert bridges == {"naru-a"}
    nft = Nft()
    table = nft.json("list table inet naru_a")["nftables"]
    nft.close()
    for item in (entry.get("map") or entry.get("set") for entry in table):
        if item is None or not item.get("elem"):
            continue
        assert "naru-a" in str(item["elem"]), item
        assert "narub" not in str(item["elem"]), item


def crashed(lab: Lab, point: str) -> "subprocess.CompletedProcess[str]":
    """`crash` in a process of its own that dies at `point`."""
    enter = os.path.join(os.path.dirname(__file__), "network_lab.py")
    return subprocess.run(
        [sys.executable, enter, "--joined", lab.root, __file__, "crash"],
        env=os.environ | {"NARU_FAILPOINTS": f"{point}=kill"},
        capture_output=True,
        text=True,
    )


@in_lab
async def _after_kill(lab: Lab) -> None:
    point = os.environ["LAB_POINT"]
    child = crashed(lab, point)
    assert child.returncode == -signal.SIGKILL, (point, child.stdout, child.stderr)
    async with lab.engine() as network:
        if any(item.name == "mine" for item in network.networks()):
            await network.remove("mine")
        await clean(lab)


@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_left_after_a_kill(point: str) -> None:
    run_in_lab(Path(__file__), "_after_kill", env={"LAB_POINT": point})


@pytest.mark.parametrize("action", ["eio", "enospc"])
@pytest.mark.parametrize("point", POINTS)
def test_a_failing_step_is_undone(point: str, action: str) -> None:
    run_in_lab(Path(__file__), "fail", env={"NARU_FAILPOINTS": f"{point}={action}"})


@in_lab
async def test_an_engine_without_containers_leaves_nothing(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
    nft = Nft()
    assert lab.netlink.link("naru-a") is not None
    assert "8080" in nft.text("list table inet naru_a")
    async with lab.engine(keep={container_id("web"): web}) as network:
        await network.membership.detach(container_id("web"))
    assert lab.netlink.link("naru-a") is None
    assert "naru" not in nft.text("list tables")
    assert not links(lab)
    nft.close()


@in_lab
async def test_what_cannot_be_adopted_is_told_and_not_destroyed(lab: Lab) -> None:
    async with lab.engine() as network:
        web = await network.membership.attach(request("web", "8080:80"))
    joined = Attachment(request("joined", mode="container:web", on={}), web.sandbox_path)
    keep = {container_id("web"): web, container_id("joined"): joined}
    async with lab.engine(bip="172.28.0.1/16", keep=keep, problems=1):
        assert len(links(lab)) == 1
        assert os.path.exists(web.sandbox_path or "")
    async with lab.engine(bip="172.28.0.1/16", keep=keep, problems=1) as network:
        assert len(links(lab)) == 1
        await network.membership.detach(container_id("web"))
        await eventually(lambda: not links(lab), "the link")


@in_lab
async def test_a_dropping_firewall_of_the_host_is_told_of(lab: Lab) -> None:
    nft = Nft()
    async with lab.engine() as network:
        assert await network.obstacles() == []
        nft.run("table ip mine { chain f { type filter hook forward priority 0; policy drop; }; }")
        (told,) = await network.obstacles()
        assert told.startswith("chain ip mine f drops what it does not know")
    nft.close()
