"""Help texts: a command's usage with its flags, a group's words, and the program's own page."""

from __future__ import annotations

import shutil
import sys

from naru.cli.flags import BOOL, Flag, Flags
from naru.cli.main import GLOBAL_FLAGS, PROGRAM, find_command, load_command
from naru.cli.words import COMMANDS, COMMON, GROUPS, same_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naru.cli.command import Command

INDENT = "  "


def print_help(words: list[str]) -> int:
    """Print the page of the command, group or program that `words` name; 0."""
    if not words:
        sys.stdout.write(_program_page())
        return 0
    name, entry, _ = find_command(words)
    if entry:
        sys.stdout.write(_command_page(name, entry, load_command(entry)))
    else:
        sys.stdout.write(_group_page(words[0]))
    return 0


def usage_block(name: str, entry: str, message: str) -> str:
    """What follows an error in the words of `name`: how it is used, where to read more."""
    if not entry:
        shown = f"{name} [OPTIONS] COMMAND [ARG...]" if name == PROGRAM else name
        usage = "" if "unknown command" in message and name == PROGRAM else f"Usage:  {shown}\n\n"
        return f"{usage}Run '{name} --help' for more information\n"
    verb = "See" if "requires at least" in message and "most" not in message else "Run"
    return f"{_usage(name, load_command(entry))}\n{verb} '{name} --help' for more information\n"


def _usage(name: str, command: Command) -> str:
    lines = [f"{name} {line}".rstrip() for line in command.usage.split("\n")]
    return "Usage:  " + "\n\t".join(lines) + "\n"


def _command_page(name: str, entry: str, command: Command) -> str:
    parts = [_usage(name, command), command.summary + "\n"]
    if command.long:
        parts.append(command.long.strip("\n") + "\n")
    ways = same_command(entry)
    if len(ways) > 1:
        listed = ", ".join(f"{PROGRAM} {way}" for way in ways)
        parts.append(f"Aliases:\n{INDENT}{listed}\n")
    table = flag_table(command.flags)
    if table:
        parts.append("Options:\n" + table)
    return "\n".join(parts)


def _group_page(group: str) -> str:
    summary, words = GROUPS[group]
    entries = {word: entry for word, entry in words.items() if not entry.startswith("=")}
    return (
        f"Usage:  {PROGRAM} {group} COMMAND\n\n{summary}\n\nCommands:\n{_word_list(entries)}\n"
        f"Run '{PROGRAM} {group} COMMAND --help' for more information on a command.\n"
    )


def _word_list(entries: Mapping[str, str], order: Iterable[str] | None = None) -> str:
    words = list(order) if order is not None else sorted(entries)
    width = max(len(word) for word in words)
    return "".join(
        f"{INDENT}{word:{width}}   {load_command(entries[word]).summary}\n" for word in words
    )


def _program_page() -> str:
    groups = "".join(f"{INDENT}{name:11} {summary}\n" for name, (summary, _) in GROUPS.items())
    others = [word for word in sorted(COMMANDS) if word not in COMMON]
    return (
        f"Usage:  {PROGRAM} [OPTIONS] COMMAND\n\n"
        "Containers that start quickly, lose nothing and say why\n\n"
        f"Common Commands:\n{_word_list(COMMANDS, COMMON)}\n"
        f"Management Commands:\n{groups}\n"
        f"Commands:\n{_word_list(COMMANDS, others)}\n"
        f"Global Options:\n{flag_table(GLOBAL_FLAGS)}\n"
        f"Run '{PROGRAM} COMMAND --help' for more information on a command.\n"
        f"Run '{PROGRAM} system doctor' to see whether this host is ready for containers.\n"
    )


def flag_table(flags: Flags) -> str:
    """The flags with what each does, wrapped to the terminal (80 columns elsewhere)."""
    shown = sorted((flag for flag in flags.all if flag.help), key=lambda flag: flag.name)
    if not shown:
        return ""
    heads = [_head(flag) for flag in shown]
    margin = max(len(head) for head in heads) + 3
    columns = max(shutil.get_terminal_size((80, 24)).columns, margin + 20)
    lines = []
    for flag, head in zip(shown, heads, strict=True):
        wrapped = _wrap(_text(flag), columns - margin)
        lines.append(f"{head:{margin}}{wrapped[0]}")
        lines += [" " * margin + line for line in wrapped[1:]]
    return "\n".join(lines) + "\n"


def _head(flag: Flag) -> str:
    letter = f"-{flag.short}, " if flag.short else "    "
    kind = f" {flag.kind.name}" if flag.kind.name else ""
    return f"{INDENT}{letter}--{flag.name}{kind}"


def _text(flag: Flag) -> str:
    default = flag.shown
    if not default and flag.kind is BOOL and flag.default:
        default = "true"
    return f"{flag.help} (default {default})" if default else flag.help


def _wrap(text: str, width: int) -> list[str]:
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines
