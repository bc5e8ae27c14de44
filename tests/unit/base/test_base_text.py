"""Control characters made visible."""

import pytest

from naru.base.text import visible, visible_line


@pytest.mark.parametrize(
    ("text", "line", "lines"),
    [
        ("plain ü 나루 \u00a0x", "plain ü 나루 \u00a0x", "plain ü 나루 \u00a0x"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07", "\\x1b]0;owned\\x07"),
        ("a\tb\nc\r", "a\\tb\\nc\\r", "a\tb\nc\\r"),
        ("\x9b2J\x7f\0", "\\u009b2J\\u007f\\x00", "\\u009b2J\\u007f\\x00"),
        ("txt\u202eexe", "txt\\u202eexe", "txt\\u202eexe"),
        ("", "", ""),
    ],
)
def test_nothing_steers_the_terminal(text: str, line: str, lines: str) -> None:
    assert visible_line(text) == line
    assert visible(text) == lines
