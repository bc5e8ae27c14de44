"""Text of others shown to people: characters that steer a terminal become visible. Pure.

Names, labels, file names and messages come from images, containers and clients. An escape sequence
in one of them could rewrite what a person sees, or make a terminal type commands.
"""

from __future__ import annotations

_CONTROLS = range(32)
_LATER_CONTROLS = range(127, 160)
# Marks that change the order in which text is shown (U+202A…E, U+2066…9), and line separators.
_ORDER = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029)
_LINE = {
    **{code: f"\\x{code:02x}" for code in _CONTROLS},
    **{code: f"\\u{code:04x}" for code in (*_LATER_CONTROLS, *_ORDER)},
    0x09: "\\t",
    0x0A: "\\n",
    0x0D: "\\r",
}
_LINES = {code: shown for code, shown in _LINE.items() if code not in (0x09, 0x0A)}


def visible_line(text: str) -> str:
    """`text` for one line or cell: control characters, line ends too, as backslash escapes."""
    return text if text.isprintable() else text.translate(_LINE)


def visible(text: str) -> str:
    """`text` with its lines and tabs as they are, every other control character escaped.

    JSON stays JSON of the same meaning.
    """
    return text if text.isprintable() else text.translate(_LINES)
