"""`naru completion bash|zsh|fish`: scripts made from the tables of words and flags.

The scripts hold words and flags; names of containers, images, volumes, networks and contexts are
asked of `naru` itself when the key is pressed.
"""

from __future__ import annotations

import sys

from naru.cli.command import Command
from naru.cli.flags import BOOL, Flag
from naru.cli.main import GLOBAL_FLAGS, load_command
from naru.cli.words import COMMANDS, GROUPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from naru.cli.flags import Values
    from naru.cli.session import Session

_RUNNING = frozenset(("attach", "exec", "kill", "pause", "port", "restart", "stats", "stop", "top"))
_ANY = frozenset((
    "commit", "cp", "diff", "export", "logs", "rename", "rm", "start", "unpause", "update", "wait",
    "inspect",
))  # fmt: skip
_IMAGES = frozenset(("create", "history", "push", "rmi", "run", "save", "tag"))
LISTS = {
    "running": "naru ps --format '{{.Names}}'",
    "containers": "naru ps -a --format '{{.Names}}'",
    "images": "naru images --format '{{.Repository}}:{{.Tag}}'",
    "volumes": "naru volume ls -q",
    "networks": "naru network ls --format '{{.Name}}'",
    "contexts": "naru context ls -q",
}


def argument_list(path: str) -> str:
    """Which list completes the arguments of the command at `path`; empty for none."""
    group, _, word = path.rpartition(" ")
    if group in ("volume", "network", "context"):
        takes = word in ("rm", "inspect", "use", "export", "update", "connect", "disconnect")
        return f"{group}s" if takes else ""
    if group == "image":
        return "images" if word in ("history", "inspect", "rm", "save", "tag") else ""
    if group in ("", "container"):
        if word in _RUNNING:
            return "running"
        if word in _ANY:
            return "containers"
        if word in _IMAGES:
            return "images"
    return ""


def commands() -> Iterator[tuple[str, str]]:
    """Every command's words and entry, other spellings too."""
    yield from sorted(COMMANDS.items())
    for group, (_, words) in sorted(GROUPS.items()):
        for word, entry in sorted(words.items()):
            yield f"{group} {word}", words[entry[1:]] if entry.startswith("=") else entry


def _flag_words(flags: Iterable[Flag]) -> list[str]:
    words = []
    for flag in flags:
        if flag.help:
            words += [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])]
    return [*words, "--help"]


def _taking_values() -> list[str]:
    """The flags of the program itself that swallow the next word."""
    taking = [flag for flag in GLOBAL_FLAGS.all if flag.kind is not BOOL]
    return _flag_words(taking)[:-1]


def bash_script() -> str:
    lines = [
        "# bash completion for naru; load it with: source <(naru completion bash)",
        "_naru_words() {",
        '    case "$1" in',
        f'        "") echo "{" ".join(sorted([*COMMANDS, *GROUPS]))}" ;;',
    ]
    for group, (_, words) in sorted(GROUPS.items()):
        lines.append(f'        "{group}") echo "{" ".join(sorted(words))}" ;;')
    lines += ["    esac", "}", "_naru_flags() {", '    case "$1" in']
    lines.append(f'        "") echo "{" ".join(_flag_words(GLOBAL_FLAGS.all))}" ;;')
    for path, entry in commands():
        flags = " ".join(_flag_words(load_command(entry).flags.all))
        lines.append(f'        "{path}") echo "{flags}" ;;')
    lines += ["    esac", "}", "_naru_names() {", '    case "$1" in']
    for path, _ in commands():
        chosen = argument_list(path)
        if chosen:
            lines.append(f'        "{path}") {LISTS[chosen]} 2>/dev/null ;;')
    lines += ["    esac", "}"]
    return "\n".join(lines) + _BASH_TAIL.replace("@GLOBAL@", "|".join(_taking_values())).replace(
        "@GROUPS@", "|".join(sorted(GROUPS))
    )


_BASH_TAIL = """
_naru() {
    local current="${COMP_WORDS[COMP_CWORD]}" path="" word at=1
    while [ "$at" -lt "$COMP_CWORD" ]; do
        word="${COMP_WORDS[at]}"
        case "$word" in
            @GLOBAL@) if [ -z "$path" ]; then at=$((at + 1)); fi ;;
            -*) ;;
            *)
                if [ -z "$path" ]; then
                    path="$word"
                    case "$word" in @GROUPS@) ;; *) break ;; esac
                else
                    path="$path $word"
                    break
                fi
                ;;
        esac
        at=$((at + 1))
    done
    local IFS=$' \\t\\n'
    case "$current" in
        -*) COMPREPLY=($(compgen -W "$(_naru_flags "$path")" -- "$current")) ;;
        *)
            COMPREPLY=($(compgen -W "$(_naru_words "$path") $(_naru_names "$path")" -- "$current"))
            if [ "${#COMPREPLY[@]}" -eq 0 ]; then
                COMPREPLY=($(compgen -f -- "$current"))
            fi
            ;;
    esac
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$current"
    fi
}
complete -F _naru naru
"""


def zsh_script() -> str:
    """zsh runs the bash functions through its own bashcompinit."""
    head = "#compdef naru\n# zsh completion for naru; load it with: source <(naru completion zsh)\n"
    return f"{head}autoload -U +X bashcompinit && bashcompinit\n{bash_script()}"


def _fish_text(text: str) -> str:
    first = text.split("\n", 1)[0]
    return "'" + first.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_script() -> str:
    lines = [
        "# fish completion for naru; load it with: naru completion fish | source",
        "function __naru_at",
        "    set -l words (string match -v -- '-*' (commandline -opc)[2..-1])",
        "    set -l wanted $argv",
        "    test (count $words) -ge (count $wanted); or return 1",
        "    for at in (seq (count $wanted))",
        "        test $words[$at] = $wanted[$at]; or return 1",
        "    end",
        "end",
        "function __naru_only",
        "    set -l words (string match -v -- '-*' (commandline -opc)[2..-1])",
        "    test (count $words) -eq (count $argv); and __naru_at $argv",
        "end",
        "function __naru_first",
        "    test (count (string match -v -- '-*' (commandline -opc)[2..-1])) -eq 0",
        "end",
        "complete -c naru -f",
    ]
    for flag in GLOBAL_FLAGS.all:
        lines.append(_fish_flag("__naru_first", flag))
    for word, (summary, _) in sorted(GROUPS.items()):
        lines.append(f"complete -c naru -n __naru_first -a {word} -d {_fish_text(summary)}")
    for path, entry in commands():
        command = load_command(entry)
        group, _, word = path.rpartition(" ")
        where = f"'__naru_only {group}'" if group else "__naru_first"
        lines.append(f"complete -c naru -n {where} -a {word} -d {_fish_text(command.summary)}")
        lines += [_fish_flag(f"'__naru_at {path}'", flag) for flag in command.flags.all]
        chosen = argument_list(path)
        if chosen:
            listed = LISTS[chosen].replace("'", "\\'")
            lines.append(f"complete -c naru -n '__naru_at {path}' -a '({listed} 2>/dev/null)'")
    return "\n".join(line for line in lines if line) + "\n"


def _fish_flag(where: str, flag: Flag) -> str:
    if not flag.help:
        return ""
    short = f" -s {flag.short}" if flag.short else ""
    value = "" if flag.kind is BOOL else " -x"
    return f"complete -c naru -n {where}{short} -l {flag.name}{value} -d {_fish_text(flag.help)}"


def _command(shell: str, script: Callable[[], str]) -> Command:
    def run(session: Session, values: Values, arguments: list[str]) -> None:
        sys.stdout.write(script())

    return Command(run, "", f"Generate the completion script for {shell}")


BASH = _command("bash", bash_script)
FISH = _command("fish", fish_script)
ZSH = _command("zsh", zsh_script)
