"""Names through 127.0.0.11, as processes in a sandbox see them."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time

import dns.edns
import dns.flags
import dns.message
import pytest
from dns_lab import Resolver, ask, client, dns_lab, exchange, member, socket_in
from network_lab import Lab, eventually, in_lab

from naru.kernel import netns
from naru.kernel.nft import Nft

pytestmark = pytest.mark.root


@in_lab
async def test_names_of_a_shared_network_are_answered(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box, other = made.box(), made.box()
        web = member("web", "10.1.0.2", "fd01::2", aliases=("all",))
        api = member("api", "10.1.0.3", aliases=("all",))
        db = member("db", "10.2.0.2", network="back")
        await made.keeper.serve(client(box, web, api))
        await made.keeper.serve(client(other, api, db))
        for tcp in (False, True):
            assert await ask(box.pin, "Web", tcp=tcp) == ["10.1.0.2"]
            assert await ask(box.pin, "web.net.", "AAAA", tcp=tcp) == ["fd01::2"]
            assert await ask(box.pin, "api", "AAAA", tcp=tcp) == []
            assert await ask(box.pin, "web", "MX", tcp=tcp) == []
            assert await ask(box.pin, "2.0.1.10.in-addr.arpa", "PTR", tcp=tcp) == ["web.net."]
            assert await ask(other.pin, "db", tcp=tcp) == ["10.2.0.2"]
        assert made.resolver.asked == []
        assert await ask(box.pin, "db") == ["192.0.2.1"]  # not its network: asked outside
        assert made.resolver.asked == ["db."]
        orders = {tuple(await ask(box.pin, "all")) for _ in range(2)}
        assert orders == {("10.1.0.2", "10.1.0.3"), ("10.1.0.3", "10.1.0.2")}
        orders = {tuple(await ask(box.pin, "all", tcp=True)) for _ in range(2)}
        assert orders == {("10.1.0.2", "10.1.0.3"), ("10.1.0.3", "10.1.0.2")}


@in_lab
async def test_names_change_at_once(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        web, api = member("web", "10.1.0.2", aliases=("all",)), member("api", "10.1.0.3")
        await made.keeper.serve(client(box, web))
        assert await ask(box.pin, "api") == ["192.0.2.1"]
        for _ in range(2):
            await made.keeper.update([client(box, web, api, links={"priv": ("10.9.0.1",)})])
            assert await ask(box.pin, "api") == ["10.1.0.3"]
            assert await ask(box.pin, "priv") == ["10.9.0.1"]
            sick = member("web", "10.1.0.2", aliases=("all",), listed=False)
            await made.keeper.update([client(box, sick)])
            assert await ask(box.pin, "all") == []
            assert await ask(box.pin, "web") == ["10.1.0.2"]
            assert await ask(box.pin, "priv") == ["192.0.2.1"]
        other = client(box, web, upstreams=("10.77.1.99",), forward=False)
        await made.keeper.update([other])
        assert await ask(box.pin, "priv") == "SERVFAIL"  # nothing kept of other resolvers


@in_lab
async def test_nothing_stays_in_a_sandbox_that_was_withdrawn(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box, other = made.box(), made.box()
        for item in (box, other):
            await made.keeper.serve(client(item, member("web", "10.1.0.2")))
            assert await ask(item.pin, "example.com") == ["192.0.2.1"]
        stuck = socket_in(box.pin, socket.SOCK_STREAM)
        stuck.connect(("127.0.0.11", 53))
        await made.keeper.withdraw(os.path.basename(box.pin))
        await made.keeper.withdraw(os.path.basename(box.pin))
        with pytest.raises(OSError):  # noqa: PT011 - refused or without an answer
            await ask(box.pin, "web", timeout_s=0.3)
        assert await asyncio.to_thread(stuck.recv, 1) == b""
        stuck.close()
        held = {
            os.stat(f"/proc/{made.process()}/fd/{n}").st_ino for n in descriptors(made.process())
        }
        assert os.stat(box.pin).st_ino not in held
        assert os.stat(other.pin).st_ino in held
        assert await ask(other.pin, "web") == ["10.1.0.2"]


def descriptors(pid: int) -> list[str]:
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            os.stat(f"/proc/{pid}/fd/{name}")
            found.append(name)
    return found


@in_lab
async def test_port_53_is_the_containers_own(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(client(box, member("web", "10.1.0.2")))

        def bind() -> list[socket.socket]:
            held = []
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                for address in ("127.0.0.1", "0.0.0.0"):
                    bound = socket.socket(socket.AF_INET, kind)
                    held.append(bound)
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    bound.bind((address, 53))
            return held

        held = netns.run_in_netns(box.pin, bind)
        for tcp in (False, True):
            assert await ask(box.pin, "web", tcp=tcp) == ["10.1.0.2"]
        with socket_in(box.pin) as asking:
            asking.sendto(b"mine", ("127.0.0.1", 53))
            assert held[0].recv(10) == b"mine"
        for bound in held:
            bound.close()


STRICT = """
table inet mine {
  chain inward {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    ip daddr 127.0.0.11 accept
  }
  chain outward {
    type filter hook output priority 0; policy drop;
    ct state established,related accept
    udp dport 53 accept
    tcp dport 53 accept
  }
}
"""


@in_lab
async def test_rules_of_the_container_see_port_53(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()

        def run(commands: str) -> str:
            nft = Nft()
            try:
                return nft.text(commands)
            finally:
                nft.close()

        netns.run_in_netns(box.pin, run, STRICT)
        before = netns.run_in_netns(box.pin, run, "list table inet mine")
        await made.keeper.serve(client(box, member("web", "10.1.0.2")))
        for tcp in (False, True):
            assert await ask(box.pin, "web", tcp=tcp) == ["10.1.0.2"]
            assert await ask(box.pin, "example.com", tcp=tcp) == ["192.0.2.1"]
        assert netns.run_in_netns(box.pin, run, "list table inet mine") == before


@in_lab
async def test_others_are_asked_from_inside_once_and_kept(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box, other = made.box(), made.box()
        await made.keeper.serve(client(box))
        await made.keeper.serve(client(other, upstreams=(other.upstream6,)))
        made.resolver.ttl = 2
        assert await ask(box.pin, "example.com") == ["192.0.2.1"]
        assert made.resolver.peers[0][0] == box.address
        reply = exchange(box.pin, dns.message.make_query("EXAMPLE.com", "A"))
        assert reply.question[0].name.to_text() == "EXAMPLE.com."
        assert reply.answer[0].ttl in (1, 2)
        assert await ask(box.pin, "nx.com") == "NXDOMAIN"
        assert await ask(box.pin, "nx.com") == "NXDOMAIN"
        assert made.resolver.asked == ["example.com.", "nx.com."]
        assert await ask(other.pin, "example.com") == ["192.0.2.1"]  # keeps its own
        assert made.resolver.peers[2][0] == other.address6

        def again() -> bool:
            exchange(box.pin, dns.message.make_query("example.com", "A"))
            return len(made.resolver.asked) > 3

        await eventually(again, "an answer is asked for again after 2 s", 4.0)


@in_lab
async def test_equal_questions_are_asked_once(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(client(box))
        names = ["slow.com", "SLOW.com"] * 8
        assert await asyncio.gather(*(ask(box.pin, name) for name in names)) == [["192.0.2.1"]] * 16
        assert len(made.resolver.asked) == 1


@in_lab
async def test_ports_and_ids_cannot_be_guessed(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(client(box))
        for n in range(60):
            await ask(box.pin, f"h{n}.com")
        ports, ids = ({peer[n] for peer in made.resolver.peers} for n in (1, 2))
        assert len(ports) > 50
        assert len(ids) > 50
        for values in (ports, ids):
            ordered = sorted(values)
            steps = {b - a for a, b in zip(ordered, ordered[1:], strict=False)}
            assert len(steps) > 20


@in_lab
async def test_loopback_resolvers_of_the_host_are_asked_from_there(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        of_host = Resolver(None, "127.0.0.53")
        inside = Resolver(box.pin, "127.0.0.2")
        try:
            await made.keeper.serve(client(box, upstreams=("127.0.0.53",), host_upstreams=True))
            assert await ask(box.pin, "a.com") == ["192.0.2.1"]
            await made.keeper.update([client(box, upstreams=("127.0.0.2",))])
            assert await ask(box.pin, "b.com") == ["192.0.2.1"]
            assert (of_host.asked, inside.asked) == (["a.com."], ["b.com."])
        finally:
            of_host.close()
            inside.close()


@in_lab
async def test_nothing_leaves_an_internal_network(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(client(box, member("web", "10.1.0.2"), forward=False))
        for name, qtype in (("example.com", "A"), ("web2", "A"), ("9.9.9.9.in-addr.arpa", "PTR")):
            for tcp in (False, True):
                assert await ask(box.pin, name, qtype, tcp=tcp) == "SERVFAIL"
        assert await ask(box.pin, "web") == ["10.1.0.2"]
        assert made.resolver.asked == []


@in_lab
async def test_resolvers_that_are_none_or_ourselves_are_left_out(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        upstreams = ("127.0.0.11", "0.0.0.0", "nonsense", box.upstream)
        await made.keeper.serve(client(box, upstreams=upstreams))
        assert await ask(box.pin, "a.com") == ["192.0.2.1"]
        await made.keeper.update([client(box, upstreams=upstreams[:3])])
        assert await ask(box.pin, "a.com") == "SERVFAIL"


@in_lab
async def test_single_labels_stay_here_when_ndots_was_asked_for(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(client(box, single_labels=False))
        assert await ask(box.pin, "single") == []
        assert await ask(box.pin, "a.com") == ["192.0.2.1"]
        assert made.resolver.asked == ["a.com."]


@in_lab
async def test_long_answers_are_cut_and_whole_over_tcp(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        addresses = tuple(f"10.3.{n >> 8}.{n & 255}" for n in range(1000))
        crowd = [member(f"c{n}", address, aliases=("all",)) for n, address in enumerate(addresses)]
        await made.keeper.serve(client(box, *crowd))
        for name, all_of_them in (("all", 1000), ("cut.com", 4000), ("cut2.com", 4000)):
            for size in (None, 1232, 4096):
                more = {} if size is None else {"use_edns": 0, "payload": size}
                query = dns.message.make_query(name, "A", **more)
                reply = await asyncio.to_thread(exchange, box.pin, query)
                assert reply.flags & dns.flags.TC
                assert len(reply.to_wire()) <= (size or 512)
            for _ in range(2):
                found = await ask(box.pin, name, tcp=True)
                assert len(found) == all_of_them, (name, found[:100])
        reply = exchange(box.pin, dns.message.make_query("all", "A"))
        assert len(reply.answer[0]) > 25


@in_lab
async def test_failures_and_oddities_of_resolvers(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(client(box, upstreams=(box.upstream, box.upstream6)))
        for name in ("fail.com", "refuse.com"):
            assert await ask(box.pin, name) == "SERVFAIL"
            assert made.resolver.asked == [f"{name}."] * 2  # each was asked
            made.resolver.asked.clear()
        assert await ask(box.pin, "bare.com") == "FORMERR"
        assert await ask(box.pin, "a.com", "TXT") == []
        assert await ask(box.pin, "a.com", "AXFR", tcp=True) == "REFUSED"
        cookie = dns.edns.GenericOption(10, b"12345678")
        made.resolver.asked.clear()
        for _ in range(2):  # with options: passed on, never from what is kept
            assert await ask(box.pin, "o.com", use_edns=0, options=[cookie]) == ["192.0.2.1"]
        assert len(made.resolver.asked) == 2


def median_ms(pin: str, name: str) -> float:
    data = dns.message.make_query(name, "A").to_wire()
    took = []
    with socket_in(pin) as made:
        made.connect(("127.0.0.11", 53))
        for _ in range(51):
            begin = time.monotonic()
            made.send(data)
            made.recv(512)
            took.append(time.monotonic() - begin)
    return sorted(took)[25] * 1000


STUB = """
import socket, sys
print(*sorted({item[4][0] for item in socket.getaddrinfo(sys.argv[1], 80)}))
print(socket.gethostbyaddr("10.1.0.2")[0])
"""


@in_lab
async def test_stub_resolvers_of_others_are_content(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        crowd = [member(f"c{n}", f"10.2.0.{n}", aliases=("all",)) for n in range(40)]
        await made.keeper.serve(client(box, member("web", "10.1.0.2", "fd01::2"), *crowd))
        conf = os.path.join(lab.root, "resolv.conf")
        inside = ["nsenter", f"--net={box.pin}", "sh", "-c"]
        mounted = f'mount --bind {conf} /etc/resolv.conf && exec "$@"'
        shell = ["unshare", "--mount", *inside, mounted, "-"]
        for options in ("", "edns0 trust-ad", "use-vc", "single-request", "rotate"):
            with open(conf, "w") as file:
                file.write(
                    f"search example.com\nnameserver 127.0.0.11\noptions ndots:0 {options}\n"
                )
            run = [*shell, sys.executable, "-c", STUB]
            told = await asyncio.to_thread(subprocess.check_output, [*run, "web"], text=True)
            assert told.split() == ["10.1.0.2", "fd01::2", "web.net"], (options, told)
            told = await asyncio.to_thread(subprocess.check_output, [*run, "all"], text=True)
            assert len(told.split()) == 41, options
        looked = [*inside, 'exec "$@"', "-", "busybox", "nslookup", "web", "127.0.0.11"]
        told = await asyncio.to_thread(subprocess.check_output, looked, text=True)
        assert "10.1.0.2" in told
        assert "fd01::2" in told


@in_lab
async def test_a_dead_resolver_costs_seconds_once(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(client(box, member("web", "10.1.0.2")))
        made.resolver.mute = True
        begin = time.monotonic()
        first = asyncio.create_task(ask(box.pin, "a.com"))  # noqa: TID251 - awaited below
        await eventually(lambda: bool(made.resolver.asked), "it was asked")
        assert await asyncio.to_thread(median_ms, box.pin, "web") < 5
        assert await first == "SERVFAIL"
        assert 3.5 < time.monotonic() - begin < 5
        begin = time.monotonic()
        for n in range(20):
            assert await ask(box.pin, f"b{n}.com") == "SERVFAIL"
            assert await ask(box.pin, "web") == ["10.1.0.2"]
        assert time.monotonic() - begin < 1
        made.resolver.mute = False
        deadline = time.monotonic() + 6
        while await ask(box.pin, "c.com") == "SERVFAIL":
            assert time.monotonic() < deadline
            await asyncio.to_thread(threading.Event().wait, 0.05)


@in_lab
async def test_a_slow_name_does_not_make_its_resolver_dead(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        await made.keeper.serve(client(box))
        assert await ask(box.pin, "drop.com") == "SERVFAIL"
        assert await ask(box.pin, "a.com") == ["192.0.2.1"]


@in_lab
async def test_the_next_resolver_is_asked(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        nobody, closed = "10.77.1.99", "10.77.1.2"  # nobody there; here, refused
        await made.keeper.serve(client(box, upstreams=(closed, nobody, box.upstream)))
        begin = time.monotonic()
        assert await ask(box.pin, "a.com") == ["192.0.2.1"]
        assert time.monotonic() - begin < 2
        await made.keeper.update([client(box, upstreams=(closed,))])
        begin = time.monotonic()
        assert await ask(box.pin, "b.com") == "SERVFAIL"
        assert time.monotonic() - begin < 0.5
