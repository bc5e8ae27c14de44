"""A body on its way into a file."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from naru.images.spool import receive


async def _stream(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_little_pieces_arrive_in_order_and_whole(tmp_path: Path) -> None:
    parts = [b"%07d," % number for number in range(5000)] + [b"x" * 3_000_000, b"", b"end"]
    with asyncio.run(receive(_stream(parts), str(tmp_path))) as spool:
        whole = b"".join(parts)
        assert spool.size == len(whole)
        assert spool.pread(0, len(whole)) == whole


def test_what_is_discarded_takes_no_room(tmp_path: Path) -> None:
    with asyncio.run(receive(_stream([b"x" * (8 << 20)]), str(tmp_path))) as spool:
        assert spool.size == 8 << 20
        spool.discard()
        assert (spool.size, os.fstat(spool.fd).st_blocks) == (0, 0)
