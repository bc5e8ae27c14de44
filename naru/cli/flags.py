"""Flags of a command: a table of them, and the parser that reads words by that table. Pure.

The grammar is the one docker's users know: `--name value`, `--name=value`, `-n value`, `-nvalue`,
clusters of one-letter flags (`-it`, `-dp 80:80`), `--` ends the flags, and a command may ask that
they end at its first argument. A truth flag takes a value only as `--flag=false`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class FlagError(Exception):
    """The words do not fit the table; the text is docker's. `where`: the group that is meant."""

    def __init__(self, text: str, where: str = "") -> None:
        super().__init__(text)
        self.where = where


class HelpWanted(Exception):
    """`--help` was among the words."""


class Kind:
    """How a flag's value is written: its name in help, its reader, and whether it repeats.

    `splits`: the reader makes a list, of any number of values, out of one.
    """

    __slots__ = ("name", "read", "repeats", "splits")

    def __init__(
        self,
        name: str,
        read: Callable[[str], Any],
        repeats: bool = False,
        splits: bool = False,
    ) -> None:
        self.name, self.read, self.repeats, self.splits = name, read, repeats, splits


_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


def read_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def read_int(text: str) -> int:
    """A 64-bit number, decimal or with 0x, 0o, 0b or a leading 0 for octal."""
    digits = text.lstrip("+-")
    try:
        octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
        value = int(text, 8 if octal else 0)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def read_filter(text: str) -> list[tuple[str, str]]:
    """The filter that `text` is; none at all when it is empty."""
    name, equals, value = text.partition("=")
    if not text:
        return []
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return [(name.strip().lower(), value.strip())]


def read_strings(text: str) -> list[str]:
    if '"' not in text and "\n" not in text:
        return text.split(",") if text else []
    from naru.cli.csv_line import split_fields

    return split_fields(text)


BOOL = Kind("", read_bool)
STRING = Kind("string", str)
INT = Kind("int", read_int)
LIST = Kind("list", str, repeats=True)
STRINGS = Kind("strings", read_strings, repeats=True, splits=True)
FILTER = Kind("filter", read_filter, repeats=True, splits=True)


class Flag:
    """One flag. `alias_of` names the flag that a hidden old spelling stands for."""

    __slots__ = ("alias_of", "default", "help", "kind", "name", "shown", "short")

    def __init__(
        self,
        name: str,
        short: str,
        kind: Kind,
        help: str,
        default: Any = None,
        alias_of: str = "",
        shown: str = "",
    ) -> None:
        self.name, self.short, self.kind, self.help = name, short, kind, help
        self.default, self.alias_of, self.shown = default, alias_of, shown


class Flags:
    """A command's flags by name and letter."""

    def __init__(self, *flags: Flag) -> None:
        self.all: Sequence[Flag] = flags
        self.by_name: Mapping[str, Flag] = {flag.name: flag for flag in flags}
        self.by_letter = {flag.short: flag for flag in flags if flag.short}


class Values:
    """The flags' values: `values["name"]`; `given` holds the names that the words had."""

    __slots__ = ("_values", "given")

    def __init__(self, flags: Flags) -> None:
        self._values: dict[str, Any] = {}
        self.given: set[str] = set()
        for flag in flags.all:
            if not flag.alias_of:
                self._values[flag.name] = _default(flag)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def put(self, flag: Flag, text: str, spelt: str) -> None:
        """Read `text` as `flag`'s value. Raises: FlagError."""
        name = flag.alias_of or flag.name
        try:
            read = flag.kind.read(text)
        except ValueError as error:
            shown = _quoted(text)
            raise FlagError(f'invalid argument {shown} for "{spelt}" flag: {error}') from None
        if flag.kind.repeats:
            items = read if flag.kind.splits else [read]
            self._values[name] = [*self._values[name], *items]
        else:
            self._values[name] = read
        self.given.add(name)


def _quoted(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from naru.cli.template.functions import go_quote

    return go_quote(text)


def _default(flag: Flag) -> Any:
    if flag.default is not None:
        return flag.default
    if flag.kind.repeats:
        return []
    return {"": False, "string": "", "int": 0}.get(flag.kind.name)


def _spelt(flag: Flag) -> str:
    return f"-{flag.short}, --{flag.name}" if flag.short else f"--{flag.name}"


class _Words:
    """The words still to read."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.at = 0

    def next(self) -> str | None:
        if self.at >= len(self.words):
            return None
        self.at += 1
        return self.words[self.at - 1]

    def rest(self) -> list[str]:
        left, self.at = self.words[self.at :], len(self.words)
        return left


def parse(flags: Flags, words: Sequence[str], stop_early: bool) -> tuple[Values, list[str]]:
    """The flags' values and the arguments in `words`.

    `stop_early`: the first argument ends the flags. Raises: FlagError, HelpWanted.
    """
    values, arguments, left = Values(flags), list[str](), _Words(words)
    while (word := left.next()) is not None:
        if word == "--":
            return values, arguments + left.rest()
        if word.startswith("--"):
            _read_long(flags, values, word, left)
        elif word.startswith("-") and word != "-":
            _read_cluster(flags, values, word, left)
        else:
            arguments.append(word)
            if stop_early:
                return values, arguments + left.rest()
    return values, arguments


def _read_long(flags: Flags, values: Values, word: str, left: _Words) -> None:
    name, equals, text = word[2:].partition("=")
    if not name or name.startswith("-"):
        raise FlagError(f"bad flag syntax: {word}")
    flag = flags.by_name.get(name)
    if flag is None:
        if name == "help":
            raise HelpWanted
        raise FlagError(f"unknown flag: --{name}")
    if equals:
        values.put(flag, text, _spelt(flag))
    elif flag.kind is BOOL:
        values.put(flag, "true", _spelt(flag))
    else:
        value = left.next()
        if value is None:
            raise FlagError(f"flag needs an argument: --{name}")
        values.put(flag, value, _spelt(flag))


def _read_cluster(flags: Flags, values: Values, word: str, left: _Words) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = flags.by_letter.get(letter)
        if flag is None:
            if letter == "h":
                raise HelpWanted
            raise FlagError(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
        if letters.startswith("="):
            values.put(flag, letters[1:], _spelt(flag))
            return
        if flag.kind is BOOL:
            values.put(flag, "true", _spelt(flag))
            continue
        value = letters or left.next()
        if value is None:
            raise FlagError(f"flag needs an argument: '{letter}' in {word}")
        values.put(flag, value, _spelt(flag))
        return
