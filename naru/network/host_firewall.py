"""The host's own `input` rules, read so that published ports can obey them. Pure.

A published port is translated before the kernel's input hook, so the chains that a host firewall
has there never see its connections. With `honour-host-firewall` they are asked all the same: each
table of others that has base chains on `input` is copied into a table of ours, in which those
chains are called for new connections to published ports, before the translation. What they drop or
reject is dropped or rejected, as if a process of the host listened there.

    table inet filter { set bad {…} chain input { type filter hook input …; policy drop; … } }
      → table inet naru_h0 { set naru_published {…} set bad {…} chain input { … drop }
          chain naru_honour { type filter hook prerouting priority -102; … jump input } }

Rules of iptables' own extensions cannot be read back: a table with such rules on `input` lets
nobody in but the host itself, and says so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FAMILIES = ("inet", "ip", "ip6")
PUBLISHED = "naru_published"
_HONOUR = "naru_honour"
_PRIORITY = -102

_TABLE = re.compile(r"table (\S+) (\S+) \{$")
_BLOCK = re.compile(r"\t(\w[\w ]*?) (\S+) \{$")
_BASE = re.compile(r"\t\ttype (\w+) hook (\w+) .*?priority ([^;]+); policy (\w+);$")


@dataclass(slots=True)
class _Block:
    """A chain, set, map or other object of a table, with its lines as they were printed."""

    kind: str
    name: str
    lines: list[str] = field(default_factory=list)

    def base(self) -> re.Match[str] | None:
        return next((match for line in self.lines if (match := _BASE.match(line))), None)


@dataclass(slots=True)
class _Table:
    family: str
    name: str
    blocks: list[_Block] = field(default_factory=list)
    dormant: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """One table of ours. `text`: its whole declaration; `problem`: why it lets nobody in, or ""."""

    family: str
    table: str
    text: str
    problem: str = ""


def copies(
    listing: str, details: Mapping[str, Any], prefix: str, ports: Iterable[tuple[str, int]]
) -> list[Copy]:
    """What has to stand beside our own table: `listing` is `nft -s list ruleset`, `details` the
    same as JSON; `prefix` begins our names; `ports`: (protocol, port of the host) published."""
    unreadable = _unreadable(details)
    elements = ", ".join(f"{proto} . {port}" for proto, port in sorted(set(ports)))
    found: list[Copy] = []
    for table in _parse(listing):
        bases = [block for block in table.blocks if _on_input(block)]
        if table.dormant or table.name.startswith("naru") or not bases:
            continue
        if table.family not in FAMILIES:
            continue
        name = f"{prefix}_h{len(found)}"
        problem = ""
        if (table.family, table.name) in unreadable:
            problem = (
                f"table {table.family} {table.name} has rules made by iptables, which cannot be "
                "read: published ports are closed to other hosts (honour-host-firewall)"
            )
        text = _render(table, bases, name, elements, closed=bool(problem))
        found.append(Copy(table.family, name, text, problem))
    return found


def closed(copy: Copy, reason: str) -> Copy:
    """The same table without the host's rules: it lets nobody in but the host itself."""
    elements = re.search(rf"set {PUBLISHED} \{{.*?elements = \{{ (.*?) \}}", copy.text, re.DOTALL)
    table = _Table(copy.family, copy.table)
    bases = [_Block("chain", "input")]
    text = _render(table, bases, copy.table, elements[1] if elements else "", closed=True)
    return Copy(
        copy.family,
        copy.table,
        text,
        "the host's firewall cannot be honoured, published ports are closed to other hosts "
        f"(honour-host-firewall): {reason}",
    )


def set_ports(copied: Iterable[Copy], ports: Iterable[tuple[str, int]]) -> str:
    """The commands that tell the copies which ports are published now."""
    elements = ", ".join(f"{proto} . {port}" for proto, port in sorted(set(ports)))
    return "".join(
        f"flush set {item.family} {item.table} {PUBLISHED}\n"
        + (
            f"add element {item.family} {item.table} {PUBLISHED} {{ {elements} }}\n"
            * bool(elements)
        )
        for item in copied
    )


def removal(names: Iterable[tuple[str, str]]) -> str:
    """The commands that take copies away, there or not: (family, table) each."""
    return "".join(
        f"table {family} {name}\ndelete table {family} {name}\n" for family, name in names
    )


def tables_of(listing: str, prefix: str) -> list[tuple[str, str]]:
    """(family, name) of the copies that stand in a listing."""
    return [
        (table.family, table.name)
        for table in _parse(listing)
        if table.name.startswith(f"{prefix}_h")
    ]


def _on_input(block: _Block) -> bool:
    base = block.base() if block.kind == "chain" else None
    return base is not None and base[1] == "filter" and base[2] == "input"


def _parse(listing: str) -> list[_Table]:
    tables: list[_Table] = []
    block: _Block | None = None
    for line in listing.splitlines():
        if match := _TABLE.match(line):
            tables.append(_Table(match[1], match[2]))
        elif not tables:
            continue
        elif line.startswith("\t") and not line.startswith("\t\t") and line.strip() == "}":
            block = None
        elif block is not None:
            block.lines.append(line)
        elif match := _BLOCK.match(line):
            block = _Block(match[1], match[2])
            tables[-1].blocks.append(block)
        elif line.strip().startswith("flags") and "dormant" in line:
            tables[-1].dormant = True
    return tables


def _unreadable(details: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Tables with a rule of iptables' extensions in a chain that `input` may lead to."""
    rules = [item["rule"] for item in details.get("nftables", ()) if "rule" in item]
    return {(rule["family"], rule["table"]) for rule in rules if _has_extension(rule["expr"])}


def _has_extension(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "xt" in value or any(_has_extension(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(_has_extension(item) for item in value)
    return False


def _render(
    table: _Table, bases: Sequence[_Block], name: str, elements: str, *, closed: bool
) -> str:
    head = f"table {table.family} {name}\ndelete table {table.family} {name}\n"
    body = f"  set {PUBLISHED} {{\n    type inet_proto . inet_service\n"
    body += f"    elements = {{ {elements} }}\n  }}\n" if elements else "  }\n"
    if not closed:
        for block in table.blocks:
            if block.kind == "flowtable" or (block.kind == "chain" and _is_other_base(block)):
                continue
            body += f"  {block.kind} {block.name} {{\n{_copied(block)}  }}\n"
    for number, base in enumerate(bases):
        last = "drop" if closed else f"jump {base.name}"
        body += (
            f"  chain {_HONOUR}{number} {{\n"
            f"    type filter hook prerouting priority {_PRIORITY}; policy accept;\n"
            "    ct state != new accept\n"
            '    iifname "lo" accept\n'
            "    fib daddr type != local accept\n"
            f"    meta l4proto . th dport != @{PUBLISHED} accept\n"
            f"    {last}\n  }}\n"
        )
    return f"{head}table {table.family} {name} {{\n{body}}}\n"


def _is_other_base(block: _Block) -> bool:
    return block.base() is not None and not _on_input(block)


def _copied(block: _Block) -> str:
    base = block.base() if block.kind == "chain" else None
    lines = [line for line in block.lines if base is None or not _BASE.match(line)]
    if base is not None and base[4] == "drop":
        lines.append("\t\tdrop")
    return "".join(f"{line}\n" for line in lines)
