"""The `naru` command: global flags, the command's module, and what its failure looks like.

Only what the wanted command needs is imported: a listing has to start in a few milliseconds.
"""

from __future__ import annotations

import os
import sys

from naru.base.errors import NaruError
from naru.base.text import visible
from naru.cli.command import Command, CommandError, RunError, UsageError
from naru.cli.flags import BOOL, LIST, STRING, Flag, FlagError, Flags, HelpWanted, Values, parse
from naru.cli.session import Session
from naru.cli.words import COMMANDS, GROUPS

PROGRAM = "naru"
USAGE_EXIT = 125

GLOBAL_FLAGS = Flags(
    Flag("config", "", STRING, "Location of client config files", shown="~/.docker"),
    Flag(
        "context",
        "c",
        STRING,
        "Name of the context to use to connect to the engine (overrides DOCKER_HOST and the "
        'default context set with "naru context use")',
    ),
    Flag("debug", "D", BOOL, "Show where an unexpected error came from"),
    Flag("host", "H", LIST, "Engine socket to connect to"),
    Flag(
        "log-level",
        "l",
        STRING,
        'Set the logging level ("debug", "info", "warn", "error", "fatal"); debug is as -D',
        "info",
        shown="info",
    ),
    Flag("tls", "", BOOL, "Use TLS; implied by --tlsverify"),
    Flag("tlscacert", "", STRING, "Trust certs signed only by this CA", shown="~/.docker/ca.pem"),
    Flag("tlscert", "", STRING, "Path to TLS certificate file", shown="~/.docker/cert.pem"),
    Flag("tlskey", "", STRING, "Path to TLS key file", shown="~/.docker/key.pem"),
    Flag("tlsverify", "", BOOL, "Use TLS and verify the remote"),
    Flag("version", "v", BOOL, "Print version information and quit"),
)
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


def load_command(entry: str) -> Command:
    """The command at `module:ATTRIBUTE`."""
    module, _, attribute = entry.partition(":")
    name = f"naru.cli.commands.{module}"
    __import__(name)
    command = getattr(sys.modules[name], attribute)
    assert isinstance(command, Command)
    return command


def find_command(words: list[str]) -> tuple[str, str, list[str]]:
    """The command's full name, its entry, and the words left.

    An empty entry: a group alone, whose name is given. Raises: UsageError for unknown words.
    """
    word, rest = words[0], words[1:]
    if word not in GROUPS:
        if word not in COMMANDS:
            raise _unknown(PROGRAM, word, [*COMMANDS, *GROUPS])
        return f"{PROGRAM} {word}", COMMANDS[word], rest
    group = f"{PROGRAM} {word}"
    if not rest or rest[0] in ("--help", "-h"):
        return group, "", []
    entries = GROUPS[word][1]
    entry = entries.get(rest[0])
    if entry is None:
        if rest[0].startswith("-"):
            raise _unknown_flag(group, rest[0])
        raise _unknown(group, rest[0], entries)
    name = rest[0]
    if entry.startswith("="):
        name = entry[1:]
        entry = entries[name]
    return f"{group} {name}", entry, rest[1:]


def _unknown_flag(where: str, word: str) -> FlagError:
    if word.startswith("--"):
        return FlagError(f"unknown flag: {word.partition('=')[0]}", where)
    return FlagError(f"unknown shorthand flag: '{word[1:2]}' in {word}", where)


def _unknown(where: str, word: str, known: object) -> UsageError:
    from naru.cli.suggest import suggestion

    words = list(known) if isinstance(known, (list, dict)) else []
    return UsageError(f"unknown command: {where} {word}{suggestion(where, word, words)}", where)


def main(words: list[str]) -> int:
    """Run the command that `words` name; the process' exit status."""
    name = PROGRAM
    entry = ""
    try:
        options, rest = parse(GLOBAL_FLAGS, words, stop_early=True)
        if options["version"]:
            from naru.cli.commands.version import print_short

            return print_short()
        if options["log-level"] not in LOG_LEVELS:
            sys.stderr.write(f"Unable to parse logging level: {options['log-level']}\n")
            return USAGE_EXIT
        if not rest or rest[0] == "help":
            return _help_for(rest[1:])
        name, entry, rest = find_command(rest)
        if not entry:
            return _help_for([name.partition(" ")[2]])
        return _run(name, entry, options, rest)
    except HelpWanted:
        return _help_for([])
    except FlagError as error:
        return _usage_failure(error.where or name, entry, str(error), "")
    except UsageError as error:
        _usage_failure(error.where or name, entry, error.message, f"{PROGRAM}: ")
        return 1


def _run(name: str, entry: str, options: Values, words: list[str]) -> int:
    command = load_command(entry)
    try:
        values, arguments = parse(command.flags, words, command.stop_early)
    except HelpWanted:
        return _help_for(name.split(" ")[1:])
    command.check_count(name, arguments)
    session = Session(options, name)
    try:
        return command.run(session, values, arguments) or 0
    except RunError as error:
        sys.stdout.flush()
        text = f"{PROGRAM}: {visible(error.message)}\n\nRun '{name} --help' for more information\n"
        sys.stderr.write(text if error.message else "")
        return error.code
    except UsageError:
        raise
    except CommandError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{visible(error.message)}\n" if error.message else "")
        return error.code
    except NaruError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{visible(error.message)}\n")
        return 1
    finally:
        session.close()


def _help_for(words: list[str]) -> int:
    from naru.cli.help import print_help

    return print_help(words)


def _usage_failure(name: str, entry: str, message: str, prefix: str) -> int:
    from naru.cli.help import usage_block

    sys.stdout.flush()
    sys.stderr.write(visible(f"{prefix}{message}\n\n{usage_block(name, entry, message)}"))
    return USAGE_EXIT


def run() -> None:
    """Entry point of the console script: never returns, and skips the interpreter's teardown."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # a real text stream here
    sys.stderr.reconfigure(errors="replace")  # type: ignore[union-attr] # as above
    code = 1
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 141
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except Exception as error:
        code = _unexpected(error)
    try:
        sys.stderr.flush()
    finally:
        os._exit(code)


def _debug_wanted(words: list[str]) -> bool:
    try:
        options, _ = parse(GLOBAL_FLAGS, words, stop_early=True)
    except (FlagError, HelpWanted):
        return False
    return bool(options["debug"] or options["log-level"] == "debug")


def _unexpected(error: Exception) -> int:
    if _debug_wanted(sys.argv[1:]):
        import traceback

        traceback.print_exc()
    else:
        kind = type(error).__name__
        sys.stderr.write(f"{PROGRAM}: {kind}: {error}; -D shows where this came from\n")
    return 1
