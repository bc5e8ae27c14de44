""" "Did you mean": the known words that a mistyped one is close to. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


# Words of docker's that have no command here at all, by what they belong to.
_NOT_YET = {
    **dict.fromkeys(("swarm", "stack", "service", "node", "secret", "config"), "Swarm mode"),
    **dict.fromkeys(("builder", "buildx", "bake"), "Building images"),
    **dict.fromkeys(("manifest", "trust", "scout"), "Working with registries"),
    "checkpoint": "Checkpointing",
    "compose": "Compose",
    "plugin": "Plugins",
}


def distance(one: str, other: str) -> int:
    """How many letters to add, drop, change or swap with a neighbour to make `one` `other`."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        previous, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(row[j - 1] + 1, before[j] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, previous[j - 2] + 1)
            row.append(cost)
    return row[-1]


def close_words(word: str, known: Iterable[str]) -> list[str]:
    """At most three known words near `word`, the nearest first."""
    limit = 1 if len(word) < 4 else 2
    scored = sorted((distance(word, other), other) for other in set(known))
    near = [other for score, other in scored if score <= limit]
    longer = [other for _, other in scored if len(word) > 2 and other.startswith(word)]
    return list(dict.fromkeys(near + longer))[:3]


def suggestion(where: str, word: str, known: Iterable[str]) -> str:
    """A paragraph that asks "Did you mean", or says that this is not here yet; may be empty."""
    if word in _NOT_YET and " " not in where:
        verb = "are" if word == "plugin" else "is"
        return f"\n\n{_NOT_YET[word]} {verb} not in this release of Naru."
    near = close_words(word, known)
    if not near:
        return ""
    return "\n\nDid you mean " + " or ".join(f"'{where} {other}'" for other in near) + "?"
