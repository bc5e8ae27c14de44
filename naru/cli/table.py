"""Columns of text in the manner of Go's tabwriter, as every docker listing is laid out. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MINIMUM = 10
PADDING = 3


def align(lines: Sequence[Sequence[str]], minimum: int = MINIMUM, padding: int = PADDING) -> str:
    """Lines of cells as text: each cell but a line's last is padded to its column's width.

    A column is a run of consecutive lines that have a cell there; each run has its own width.
    """
    if not lines:
        return ""
    count = len(lines[0])
    if all(len(line) == count for line in lines):
        return _align_even(lines, count, minimum, padding)
    widths: list[list[int]] = [[0] * max(len(line) - 1, 0) for line in lines]
    for column in range(max(len(line) for line in lines) - 1):
        start = 0
        while start < len(lines):
            end = start
            while end < len(lines) and len(lines[end]) - 1 > column:
                end += 1
            if end > start:
                longest = max(len(line[column]) for line in lines[start:end])
                for at in range(start, end):
                    widths[at][column] = max(longest + padding, minimum)
            start = end + 1
    out = []
    for line, sizes in zip(lines, widths, strict=True):
        cells = [cell.ljust(size) for cell, size in zip(line, sizes, strict=False)]
        out.append("".join(cells) + line[-1] if line else "")
    return "\n".join(out) + "\n"


def _align_even(lines: Sequence[Sequence[str]], count: int, minimum: int, padding: int) -> str:
    widths = [
        max(max(map(len, column)) + padding, minimum)
        for column in list(zip(*lines, strict=True))[: count - 1]
    ]
    last = count - 1
    out = []
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        out.append("".join(cells) + line[last])
    return "\n".join(out) + "\n"


def align_text(text: str, minimum: int = MINIMUM, padding: int = PADDING) -> str:
    """`align` on text whose cells are parted by tabs."""
    if not text:
        return ""
    return align([line.split("\t") for line in text.removesuffix("\n").split("\n")],
                 minimum, padding)  # fmt: skip
