"""Columns laid out as Go's tabwriter does."""

from naru.cli.table import align, align_text


def test_columns_have_a_least_width_and_three_spaces() -> None:
    assert align([["ID", "IMAGE", "NAMES"], ["4b6e92ec75ed", "busybox", "a"]]) == (
        "ID             IMAGE     NAMES\n4b6e92ec75ed   busybox   a\n"
    )


def test_the_last_cell_is_not_padded() -> None:
    assert align([["A", ""], ["B", "long"]]) == "A         \nB         long\n"


def test_each_run_of_lines_has_its_own_widths() -> None:
    assert align_text("a\tb\nplain\nlonger than ten\tc\n") == (
        "a         b\nplain\nlonger than ten   c\n"
    )


def test_nothing_is_nothing() -> None:
    assert align([]) == align_text("") == ""
