"""Words read by a table of flags, in docker's grammar."""

import pytest

from naru.cli.flags import (
    BOOL,
    FILTER,
    INT,
    LIST,
    STRING,
    STRINGS,
    Flag,
    FlagError,
    Flags,
    HelpWanted,
    parse,
)

FLAGS = Flags(
    Flag("all", "a", BOOL, "x"),
    Flag("detach", "d", BOOL, "x"),
    Flag("env", "e", LIST, "x"),
    Flag("filter", "f", FILTER, "x"),
    Flag("name", "n", STRING, "x"),
    Flag("old-name", "", STRING, "", alias_of="name"),
    Flag("proxy", "", BOOL, "x", True),
    Flag("publish", "p", LIST, "x"),
    Flag("subnet", "", STRINGS, "x"),
    Flag("time", "t", INT, "x"),
)


def read(*words: str, stop_early: bool = False) -> tuple[dict[str, object], list[str]]:
    values, arguments = parse(FLAGS, words, stop_early)
    return {name: values[name] for name in values.given}, arguments


@pytest.mark.parametrize(
    ("words", "given", "arguments"),
    [
        (["x"], {}, ["x"]),
        (["-a", "x", "-d"], {"all": True, "detach": True}, ["x"]),
        (["-ad"], {"all": True, "detach": True}, []),
        (["-dp", "80:80"], {"detach": True, "publish": ["80:80"]}, []),
        (["-dp80:80"], {"detach": True, "publish": ["80:80"]}, []),
        (["-n=x"], {"name": "x"}, []),
        (["--name=x=y"], {"name": "x=y"}, []),
        (["--name", "-x"], {"name": "-x"}, []),
        (["--all=false"], {"all": False}, []),
        (["-a=0"], {"all": False}, []),
        (["-ad=false"], {"all": True, "detach": False}, []),
        (["--proxy=false"], {"proxy": False}, []),
        (["-e", "A", "--env=B"], {"env": ["A", "B"]}, []),
        (["--subnet", "a,b", "--subnet=c"], {"subnet": ["a", "b", "c"]}, []),
        (["-f", "A=b=c"], {"filter": [("a", "b=c")]}, []),
        (["-t", "0x10"], {"time": 16}, []),
        (["-t", "-1"], {"time": -1}, []),
        (["--old-name", "x"], {"name": "x"}, []),
        (["--", "-a"], {}, ["-a"]),
        (["x", "--", "-a"], {}, ["x", "-a"]),
        (["-"], {}, ["-"]),
        ([""], {}, [""]),
    ],
)
def test_reads_words(words: list[str], given: dict[str, object], arguments: list[str]) -> None:
    assert read(*words) == (given, arguments)


def test_stops_at_the_first_argument() -> None:
    assert read("-a", "image", "-d", "--", stop_early=True) == (
        {"all": True},
        ["image", "-d", "--"],
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-azd"], "unknown shorthand flag: 'z' in -zd"),
        (["--name"], "flag needs an argument: --name"),
        (["-n"], "flag needs an argument: 'n' in -n"),
        (["--=x"], "bad flag syntax: --=x"),
        (["---x"], "bad flag syntax: ---x"),
        (
            ["-t", "x"],
            'invalid argument "x" for "-t, --time" flag: strconv.ParseInt: parsing "x": '
            "invalid syntax",
        ),
        (
            ["--all=maybe"],
            'invalid argument "maybe" for "-a, --all" flag: strconv.ParseBool: parsing "maybe": '
            "invalid syntax",
        ),
        (
            ["-f", "x"],
            'invalid argument "x" for "-f, --filter" flag: bad format of filter '
            "(expected name=value)",
        ),
    ],
)
def test_names_what_is_wrong(words: list[str], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        read(*words)
    assert str(caught.value) == message


@pytest.mark.parametrize("words", [["--help"], ["-a", "--help"], ["-h"]])
def test_help(words: list[str]) -> None:
    with pytest.raises(HelpWanted):
        read(*words)
