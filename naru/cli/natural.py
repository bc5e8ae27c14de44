"""Names in the order that people expect: `net9` before `net10`. Pure."""

from __future__ import annotations

_DIGIT = ord("0")


def natural_key(text: str) -> list[tuple[int, int, str, int]]:
    """A sorting key: runs of digits count as numbers, those with fewer leading zeros first."""
    key, at = [], 0
    while at < len(text):
        end = at
        while end < len(text) and "0" <= text[end] <= "9":
            end += 1
        if end == at:
            key.append((ord(text[at]), 0, "", 0))
            at += 1
            continue
        number = text[at:end].lstrip("0")
        key.append((_DIGIT, len(number), number, end - at - len(number)))
        at = end
    return key
