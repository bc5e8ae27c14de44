"""Golden dialogues between a container, its name server and the resolvers behind that.

Each `dialogues/NAME.txt` is a script and what comes of it. Lines of the script:

    network NAME: web 10.1.0.2 fd01::2 alias all; api 10.1.0.3 unlisted      (members in order)
    link NAME 10.9.0.1          no resolvers          internal          ndots
    ? web A [tcp] [edns SIZE]   a question            + 5               five seconds pass
    = NOERROR 60 A 192.0.2.1 192.0.2.2 | SOA 30 | cut                   the resolver answers
    =                                                                   nobody answers

What comes of it: `~` a resolver is asked, `>` the answer. `NARU_WRITE_GOLDEN=1` writes it anew;
read the difference before you commit it.
"""

import os
from pathlib import Path

import dns.flags
import dns.inet
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from naru.network.dns import message, zone
from naru.network.dns.answer import Answerer
from naru.network.dns.cache import AnswerCache

DIALOGUES = Path(__file__).parent / "dialogues"


def packed(address: str) -> bytes:
    return dns.inet.inet_pton(dns.inet.af_for_address(address), address)


class Resolvers:
    """Stands where `forward.Desk` does: says who is asked what, and answers as the script does."""

    def __init__(self, told: list[str]) -> None:
        self.upstreams = [object()]
        self.time = 1000.0
        self._told = told
        self._waiting = []

    def now(self) -> float:
        return self.time

    def ask(self, key, body, question, deliver, stream) -> None:
        asked = dns.message.from_wire(b"\0\0" + body)
        self._told.append(f"~ {words(asked.question[0])}")
        self._waiting.append((deliver, asked, question))

    def answer(self, text: str) -> None:
        deliver, asked, question = self._waiting.pop(0)
        if not text:
            deliver(None)
            return
        reply = dns.message.make_response(asked)
        code, *records = text.split(maxsplit=1)
        reply.set_rcode(dns.rcode.from_text(code))
        for part in filter(None, (" ".join(records)).split("|")):
            kind, *values = part.split()
            if kind == "cut":
                reply.flags |= dns.flags.TC
            elif kind == "SOA":
                soa = f"ns.test. root.test. 1 2 3 4 {values[0]}"
                reply.authority.append(dns.rrset.from_text("test.", 900, "IN", "SOA", soa))
            else:
                name = asked.question[0].name
                reply.answer.append(
                    dns.rrset.from_text(name, int(kind), "IN", values[0], *values[1:])
                )
        deliver(message.parse_reply(reply.to_wire(), question))


def words(question: dns.rrset.RRset) -> str:
    return f"{question.name.to_text(omit_final_dot=True)} {dns.rdatatype.to_text(question.rdtype)}"


def member(text: str) -> zone.Entry:
    name, *rest = text.split()
    before = rest[: rest.index("alias")] if "alias" in rest else rest
    aliases = rest[rest.index("alias") + 1 :] if "alias" in rest else []
    listed = "unlisted" not in rest
    addresses = [packed(word) for word in before if word != "unlisted"]
    return (name,), [word for word in aliases if word != "unlisted"], addresses, listed


class Dialogue:
    def __init__(self) -> None:
        self.told: list[str] = []
        self._resolvers = Resolvers(self.told)
        self._answerer = Answerer(1, AnswerCache(), self._resolvers)
        self._zones: list[zone.Zone] = []
        self._links: dict[str, list[bytes]] = {}
        self._forward = self._single = True

    def play(self, line: str) -> None:
        self.told.append(line)
        word, _, rest = line.partition(" ")
        match word:
            case "network":
                name, _, members = rest.partition(":")
                entries = [member(item) for item in members.split(";") if item.strip()]
                self._zones.append(zone.Zone(name, entries))
            case "link":
                name, *addresses = rest.split()
                self._links[name] = [packed(address) for address in addresses]
            case "no":
                self._resolvers.upstreams = []
            case "internal":
                self._forward = False
            case "ndots":
                self._single = False
            case "+":
                self._resolvers.time += float(rest)
            case "=":
                self._resolvers.answer(rest)
            case "?":
                self._ask(rest.split())
                return
            case "#" | "":
                return
            case _:
                raise ValueError(line)
        if word not in ("=", "+"):
            view = zone.View(self._zones, self._links)
            self._answerer.use(view, self._forward, self._single)

    def _ask(self, question: list[str]) -> None:
        name, qtype, *how = question
        edns = {"use_edns": 0, "payload": int(how[how.index("edns") + 1])} if "edns" in how else {}
        data = dns.message.make_query(name, qtype, **edns).to_wire()
        ready = self._answerer.ready.get(data[2:])
        if ready is not None and self._resolvers.time < ready.until and "tcp" not in how:
            self._answered(ready.next())
        else:
            self._answerer.answer(data, self._resolvers.time, self._answered, "tcp" in how)

    def _answered(self, body: bytes) -> None:
        reply = dns.message.from_wire(b"\0\0" + body)
        said = [dns.rcode.to_text(reply.rcode())]
        for rrset in reply.answer:
            kind = dns.rdatatype.to_text(rrset.rdtype)
            values = [str(item) for item in rrset]
            shown = values if len(values) <= 4 else [f"({len(values)} of them)"]
            said.append(f"{rrset.ttl} {kind} {' '.join(shown)}")
        if reply.flags & dns.flags.TC:
            said.append("cut")
        self.told.append("> " + " ".join(said))


@pytest.mark.parametrize("path", sorted(DIALOGUES.glob("*.txt")), ids=lambda path: path.stem)
def test_the_dialogue_is_as_written(path: Path) -> None:
    written = path.read_text()
    dialogue = Dialogue()
    for line in written.splitlines():
        if not line.startswith(("~", ">")):
            dialogue.play(line)
    found = "\n".join(dialogue.told) + "\n"
    if os.environ.get("NARU_WRITE_GOLDEN"):
        path.write_text(found)
    assert found == written


def test_there_are_dialogues() -> None:
    assert len(list(DIALOGUES.glob("*.txt"))) >= 5
