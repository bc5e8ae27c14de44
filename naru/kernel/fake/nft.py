"""nftables in memory: tables, maps and sets with their elements; every other rule is taken as it
is. All of a transaction happens or nothing, with nft's errors for what is missing or there already.
"""

import copy
import re
from typing import Any

from naru.base.errors import Internal

_COMMAND = re.compile(
    r"(?:(?P<verb>add|create|delete|destroy|flush)\s+)?(?P<what>table|element|map|set|chain|rule)\s+"
    r"(?P<family>inet|ip6|ip|bridge|arp|netdev)\s+(?P<table>\S+)(?:[ \t]+(?P<name>[\w-]+))?"
    r"(?:[^{};\n]*)(?P<block>\{)?"
)
_INNER = re.compile(r"\b(?:map|set)\s+([\w-]+)\s*\{")

Table = dict[str, dict[str, str]]


class FakeNft:
    """`transactions`: every text that was carried out, in order."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str], Table] = {}
        self.transactions: list[str] = []
        self._open = True

    def run(self, commands: str) -> None:
        self._require_open()
        tables = copy.deepcopy(self.tables)
        position = 0
        while match := _COMMAND.search(commands, position):
            between = commands[position : match.start()].strip(" \t\n;")
            if between and not between.startswith("#"):
                raise Internal(f"nftables: Error: syntax error, unexpected {between.split()[0]}")
            position = match.end()
            block = ""
            if match["block"]:
                end = _closing(commands, position)
                block, position = commands[position:end], end + 1
            _carry_out(tables, match, block)
        if rest := commands[position:].strip(" \t\n;"):
            raise Internal(f"nftables: Error: syntax error, unexpected {rest.split()[0]}")
        self.tables = tables
        self.transactions.append(commands)

    def json(self, commands: str) -> dict[str, Any]:
        """Answers `list tables` and `list table F T` (the table, its maps with their elements)."""
        self._require_open()
        words = commands.split()
        if words[:2] == ["list", "tables"]:
            return {"nftables": [_table(family, name) for family, name in self.tables]}
        if words[:2] != ["list", "table"]:
            raise Internal("nftables: Error: the fake lists tables only")
        family, name = words[2:4]
        found: list[dict[str, Any]] = [_table(family, name)]
        for inner, elements in _existing(self.tables, family, name).items():
            elem = [[key, value] if value else key for key, value in elements.items()]
            found.append({"map": {"family": family, "name": inner, "table": name, "elem": elem}})
        return {"nftables": found}

    def text(self, commands: str) -> str:
        """Answers `list tables` and `list ruleset` as nft prints them, without what is inside."""
        self._require_open()
        if commands == "list tables":
            return "".join(f"table {family} {name}\n" for family, name in self.tables)
        if commands == "list ruleset":
            return "".join(f"table {family} {name} {{\n}}\n" for family, name in self.tables)
        return str(self.json(commands))

    def stateless(self, commands: str) -> str:
        return self.text(commands)

    def close(self) -> None:
        self._open = False

    def _require_open(self) -> None:
        if not self._open:
            raise Internal("nftables: the context is closed")


def _table(family: str, name: str) -> dict[str, Any]:
    return {"table": {"family": family, "name": name}}


def _closing(text: str, position: int) -> int:
    depth = 1
    for at in range(position, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise Internal("nftables: Error: syntax error, unexpected end of file")


def _existing(tables: dict[tuple[str, str], Table], family: str, name: str) -> Table:
    if (family, name) not in tables:
        raise Internal(f"nftables: Error: No such file or directory: table {family} {name}")
    return tables[family, name]


def _carry_out(tables: dict[tuple[str, str], Table], match: re.Match[str], block: str) -> None:
    verb, what = match["verb"] or "add", match["what"]
    family, name = match["family"], match["table"]
    if what == "table":
        _change_table(tables, verb, family, name, block)
        return
    table = _existing(tables, family, name)
    if what == "element":
        inner = match["name"] or ""
        if inner not in table:
            raise Internal(f"nftables: Error: No such file or directory: {name} {inner}")
        _change_elements(table[inner], verb, block)
    elif what in ("map", "set") and match["name"]:
        if verb in ("delete", "destroy"):
            table.pop(match["name"], None)
        elif verb == "flush":
            table.setdefault(match["name"], {}).clear()
        else:
            table.setdefault(match["name"], {})


def _change_table(
    tables: dict[tuple[str, str], Table], verb: str, family: str, name: str, block: str
) -> None:
    if verb == "delete":
        _existing(tables, family, name)
    if verb in ("delete", "destroy"):
        tables.pop((family, name), None)
        return
    if verb == "create" and (family, name) in tables:
        raise Internal(f"nftables: Error: File exists: table {family} {name}")
    table = tables.setdefault((family, name), {})
    for inner in _INNER.finditer(block):
        body = block[inner.end() : _closing(block, inner.end())]
        elements = table.setdefault(inner[1], {})
        if "elements" in body:
            start = body.index("{", body.index("elements")) + 1
            _change_elements(elements, "add", body[start : _closing(body, start)])


def _change_elements(elements: dict[str, str], verb: str, block: str) -> None:
    for item in filter(None, (part.strip() for part in block.split(","))):
        key, _, value = (word.strip() for word in item.partition(" : "))
        if verb == "delete" and key not in elements:
            raise Internal(f"nftables: Error: No such file or directory: element {key}")
        if verb in ("delete", "destroy"):
            elements.pop(key, None)
        elif elements.get(key, value) != value or (verb == "create" and key in elements):
            raise Internal(f"nftables: Error: File exists: element {key}")
        else:
            elements[key] = value
