"""The name server under hostile clients and resolvers: bounded, right, and without an error."""

import asyncio
import random
import socket
import struct
import time

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns_lab import DnsLab, Sandbox, ask, client, dns_lab, member, socket_in
from network_lab import Lab, eventually, in_lab

from naru.kernel import netns

pytestmark = pytest.mark.root


def question(name: str, number: int = 7, qtype: str = "A") -> bytes:
    query = dns.message.make_query(name, qtype)
    query.id = number
    return query.to_wire()


def framed(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def connected(box: Sandbox, count: int = 1, kind: int = socket.SOCK_STREAM) -> list[socket.socket]:
    made = [socket_in(box.pin, kind) for _ in range(count)]
    for one in made:
        one.connect(("127.0.0.11", 53))
    return made


def framed_answer(made: socket.socket) -> dns.message.Message:
    (size,) = struct.unpack(">H", made.recv(2, socket.MSG_WAITALL))
    return dns.message.from_wire(made.recv(size, socket.MSG_WAITALL))


async def serve(made: DnsLab, **more: object) -> Sandbox:
    box = made.box()
    await made.keeper.serve(client(box, member("web", "10.1.0.2"), **more))
    return box


@in_lab
async def test_random_bytes_change_nothing(lab: Lab) -> None:
    """100,000 packets, most of them wrong; no answer is longer than an error's or a name's."""
    async with dns_lab(lab) as made:
        box = await serve(made, forward=False)
        rng = random.Random(9)
        seeds = [question("web"), question("web.net", qtype="MX"), question("example.com")]
        seeds.append(dns.message.make_query("web", "A", use_edns=0).to_wire())

        def mutated() -> bytes:
            data = bytearray(rng.choice(seeds))
            for _ in range(rng.randint(0, 5)):
                data[rng.randrange(len(data))] = rng.choice((0, 192, 255, rng.randrange(256)))
            del data[rng.randint(0, len(data)) if rng.random() < 0.1 else len(data) :]
            return bytes(data) + rng.randbytes(rng.choice((0, 0, 0, 5, 600)))

        def attack() -> None:
            (made_,) = connected(box, 1, socket.SOCK_DGRAM)
            with made_:
                made_.setblocking(False)
                for n in range(100_000):
                    data = mutated()
                    made_.send(data)
                    if n % 32 == 0:
                        receive(made_)
                receive(made_)

        def receive(made_: socket.socket) -> None:
            try:
                while True:
                    assert len(made_.recv(65535)) <= 660
            except BlockingIOError:
                return

        await asyncio.to_thread(attack)
        assert await ask(box.pin, "web") == ["10.1.0.2"]


@in_lab
async def test_random_streams_change_nothing(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = await serve(made)
        rng = random.Random(10)

        def attack() -> None:
            for _ in range(300):
                (one,) = connected(box)
                data = framed(question("web"))
                position = rng.randrange(len(data))
                changed = data[:position] + rng.randbytes(3) + data[position + 3 :]
                one.sendall(rng.choice((changed, data[:position], data + rng.randbytes(40))))
                one.close()

        await asyncio.to_thread(attack)
        assert await ask(box.pin, "web", tcp=True) == ["10.1.0.2"]


@in_lab
async def test_answers_of_others_are_not_believed(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = await serve(made)
        assert await ask(box.pin, "lie.com") == ["192.0.2.1"]

        def forge() -> socket.socket:  # a neighbour that sees no question, but knows the resolver
            made_ = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made_.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made_.bind((box.upstream, 0))
            return made_

        forger = netns.run_in_netns(made.pin, forge)
        answer = asyncio.gather(ask(box.pin, "slow.com"), return_exceptions=True)
        await eventually(lambda: "slow.com." in made.resolver.asked, "it was asked")
        _, port, number = made.resolver.peers[-1]
        reply = dns.message.make_response(dns.message.make_query("slow.com", "A"))
        reply.answer.append(dns.rrset.from_text("slow.com.", 60, "IN", "A", "6.6.6.6"))
        reply.id = number  # even with everything guessed: it comes from another port
        forger.sendto(reply.to_wire(), (box.address, port))
        forger.close()
        assert await answer == [["192.0.2.1"]]


@in_lab
async def test_many_guesses_end_an_exchange(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = await serve(made)
        asking = asyncio.gather(ask(box.pin, "drop.com"))
        await eventually(lambda: bool(made.resolver.asked), "it was asked")
        _, port, number = made.resolver.peers[0]
        wrong = question("drop.com", number ^ 1)
        for _ in range(40):
            made.resolver._udp.sendto(wrong, (f"::ffff:{box.address}", port, 0, 0))
        begin = time.monotonic()
        assert await asking == ["SERVFAIL"]
        assert time.monotonic() - begin < 2


@in_lab
async def test_several_questions_on_one_connection(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = await serve(made)
        (one,) = connected(box)
        names = ["web", "slow.com", "a.com", "web", "nx.com"] * 20
        data = b"".join(framed(question(name, n)) for n, name in enumerate(names))
        await asyncio.to_thread(one.sendall, data)
        one.shutdown(socket.SHUT_WR)
        answers = {}
        for _ in names:
            reply = await asyncio.to_thread(framed_answer, one)
            answers[reply.id] = reply
        assert await asyncio.to_thread(one.recv, 1) == b""
        one.close()
        assert sorted(answers) == list(range(100))
        for n, name in enumerate(names):
            assert answers[n].question[0].name.to_text() == f"{name}."
            assert answers[n].rcode() == (dns.rcode.NXDOMAIN if name == "nx.com" else 0)


@in_lab
async def test_stuck_connections_hold_nobody_up(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box, other = await serve(made), await serve(made)
        stuck = connected(box, 63)
        for n, one in enumerate(stuck):
            one.sendall((b"", b"\0", b"\xff\xff", framed(question("web"))[:-1])[n % 4])
        begin = time.monotonic()
        assert await ask(box.pin, "web", tcp=True) == ["10.1.0.2"]
        assert time.monotonic() - begin < 1
        more = connected(box, 8)
        for one in more[1:]:  # more than are served at once: closed
            assert await asyncio.to_thread(one.recv, 1) == b""
        assert await ask(box.pin, "web") == ["10.1.0.2"]
        assert await ask(other.pin, "web", tcp=True) == ["10.1.0.2"]
        for one in stuck[:4]:  # each ends at its deadline, though one sends now and then
            one.settimeout(12)
        trickle = stuck[2]
        ended = asyncio.gather(*(asyncio.to_thread(one.recv, 1) for one in stuck[:4]))
        for _ in range(3):
            await asyncio.to_thread(trickle.send, b"x")
        assert await ended == [b""] * 4
        for one in stuck + more:
            one.close()


@in_lab
async def test_a_client_that_reads_no_answers_is_bounded(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = await serve(made)
        (one,) = connected(box)
        one.setblocking(False)
        data = framed(question("cut.com")) * 64
        sent = 0
        begin = time.monotonic()
        while time.monotonic() - begin < 2:
            try:
                sent += one.send(data)
            except BlockingIOError:
                assert await ask(box.pin, "web") == ["10.1.0.2"]
        assert sent < 16 << 20
        assert resident_kb(made.process()) < 40_000
        one.close()


def resident_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@in_lab
async def test_questions_under_way_are_bounded(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box, other = await serve(made), await serve(made)
        (one,) = connected(box, 1, socket.SOCK_DGRAM)
        one.settimeout(1)
        refused = 0
        for n in range(400):
            one.send(question(f"drop.x{n}.com", n))
        try:
            while True:
                reply = dns.message.from_wire(await asyncio.to_thread(one.recv, 512))
                assert reply.rcode() == dns.rcode.SERVFAIL
                refused += 1
        except TimeoutError:
            pass
        assert refused == 400 - 256, refused
        assert await ask(box.pin, "web") == ["10.1.0.2"]
        assert await ask(other.pin, "a.com") == ["192.0.2.1"]
        one.settimeout(6)
        for _ in range(256):
            await asyncio.to_thread(one.recv, 512)
        assert await ask(box.pin, "b.com") == ["192.0.2.1"]
        one.close()


@in_lab
async def test_many_greedy_sandboxes_leave_room_for_others(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        boxes = [await serve(made) for _ in range(9)]
        asking = [connected(box, 1, socket.SOCK_DGRAM)[0] for box in boxes[:8]]

        def flood() -> None:
            for one in asking:
                for n in range(300):
                    one.send(question(f"drop.x{n}.com", n))

        await asyncio.to_thread(flood)
        assert await ask(boxes[8].pin, "a.com") == ["192.0.2.1"]
        assert await ask(boxes[8].pin, "web") == ["10.1.0.2"]
        for one in asking:
            one.close()


@in_lab
async def test_a_crowd_under_one_name_is_rotated_and_not_kept(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = made.box()
        crowd = [member(f"c{n}", f"10.1.0.{n}", aliases=("all",)) for n in range(200)]
        await made.keeper.serve(client(box, *crowd))
        before = resident_kb(made.process())
        firsts = set()
        (one,) = connected(box, 1, socket.SOCK_DGRAM)
        for n in range(2000):
            query = dns.message.make_query("all", "A", use_edns=0, payload=1232 + n)
            one.send(query.to_wire())
            firsts.add(one.recv(4096)[-11 - 4 :])
        assert len(firsts) > 100
        one.close()
        assert resident_kb(made.process()) - before < 3000


@in_lab
async def test_many_different_names_do_not_fill_memory(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = await serve(made)
        before = resident_kb(made.process())

        def flood() -> None:
            (one,) = connected(box, 1, socket.SOCK_DGRAM)
            with one:
                for n in range(8000):
                    one.send(question(f"h{n}.com"))
                    one.recv(512)

        await asyncio.to_thread(flood)
        assert resident_kb(made.process()) - before < 12_000


@in_lab
async def test_64_kib_over_tcp(lab: Lab) -> None:
    async with dns_lab(lab) as made:
        box = await serve(made)
        (one,) = connected(box)
        padded = dns.message.make_query("a.com", "A", use_edns=0)
        padded.use_edns(0, options=[dns.edns.GenericOption(12, b"\0" * 65_400)])
        data = padded.to_wire(max_size=65_535)
        assert len(data) > 65_400
        await asyncio.to_thread(one.sendall, framed(data))
        reply = await asyncio.to_thread(framed_answer, one)
        assert reply.rcode() == dns.rcode.SERVFAIL or reply.answer
        await asyncio.to_thread(one.sendall, framed(b"\0" * 65_535))
        reply = await asyncio.to_thread(framed_answer, one)
        assert reply.rcode() == dns.rcode.FORMERR
        one.close()
