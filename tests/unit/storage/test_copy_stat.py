"""The header that tells what a path is."""

import base64
import json
import stat

import pytest

from naru.storage.copy.jobs import Answer, Job, decode_answer, decode_job, encode_answer, encode_job
from naru.storage.copy.stat import PathStat, go_mode
from naru.storage.copy.worker import absolute


@pytest.mark.parametrize(
    ("mode", "go"),
    [
        (stat.S_IFREG | 0o644, 420),
        (stat.S_IFDIR | 0o755, 2147484141),
        (stat.S_IFLNK | 0o777, 134218239),
        (stat.S_IFIFO | 0o644, 33554852),
        (stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (stat.S_IFCHR | 0o666, 1 << 26 | 1 << 21 | 0o666),
    ],
)
def test_go_mode(mode: int, go: int) -> None:
    assert go_mode(mode) == go


def test_header() -> None:
    shown = json.loads(base64.b64decode(PathStat("ü", 2, 420, 1_500_000_000, "/d").header()))
    assert shown == {
        "name": "ü", "size": 2, "mode": 420, "mtime": "1970-01-01T00:00:01.5Z", "linkTarget": "/d",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/d", "/d"), ("d", "/d"), ("/d/", "/d/"), ("/d/.", "/d/."), ("", "/"), (".", "/."),
        ("/", "/"), ("//", "/"), ("../../d", "/d"), ("/a/../b/", "/b/"), ("/..", "/"),
    ],
)  # fmt: skip
def test_absolute_keeps_what_the_end_says(path: str, wanted: str) -> None:
    assert absolute(path) == wanted


def test_conversation_survives_the_wire() -> None:
    job = Job("put", "/\udcffx", (("/a", True),), True, (1, 2), True)
    assert decode_job(encode_job(job)[4:]) == job
    for answer in (
        Answer(stat=PathStat("\udcff", 1, 2, 3, "/x")),
        Answer(failed=("missing", "text", 2)),
        Answer(done=True),
    ):
        assert decode_answer(encode_answer(answer)[4:]) == answer
