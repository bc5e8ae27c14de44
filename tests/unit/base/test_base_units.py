import pytest

from naru.base.errors import InvalidParameter
from naru.base.units import human_duration, human_size, human_size_binary, parse_size


@pytest.mark.parametrize(
    ("text", "size"), [("100", 100), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("2kB", 2048)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_bad_size_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="invalid size: 'ten'"):
        parse_size("ten")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.235MB"), (5_000_000_000, "5GB")],
)
def test_sizes_are_written(size: int, text: str) -> None:
    assert human_size(size) == text


def test_memory_counts_in_powers_of_two() -> None:
    assert human_size_binary(7_864_320) == "7.5MiB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
        (180, "3 minutes"), (3600, "About an hour"), (7200, "2 hours"), (86400 * 3, "3 days"),
        (86400 * 20, "2 weeks"), (86400 * 100, "3 months"), (86400 * 800, "2 years"),
    ],
)  # fmt: skip
def test_durations_are_words(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
