"""`naru completion bash|zsh|fish`: scripts made from the tables of words and flags.

The scripts hold words and flags; names of containers, images, volumes, networks and contexts are
asked of `naru` itself when the key is pressed.
"""

from __future__ import annotations

import sys

from naru.cli.command import Command
from naru.cli.completion_lists import LISTS, argument_list, value_lists
from naru.cli.flags import BOOL, Flag
from naru.cli.main import GLOBAL_FLAGS, load_command
from naru.cli.words import COMMANDS, GROUPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from naru.cli.flags import Values
    from naru.cli.session import Session


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
    lines += ["    esac", "}", "_naru_taking() {", '    case "$1" in']
    for path, entry in commands():
        taking = [flag for flag in load_command(entry).flags.all if flag.kind is not BOOL]
        if taking:
            lines.append(f'        "{path}") echo "{" ".join(_flag_words(taking)[:-1])}" ;;')
    lines += ["    esac", "}", "_naru_values() {", '    case "$1 $2" in']
    for path, _ in commands():
        for flag, chosen in value_lists(path).items():
            lines.append(f'        "{path} {flag}") {_asked(chosen)} ;;')
    lines += ["    esac", "}", "_naru_names() {", '    case "$1" in']
    for path, _ in commands():
        lists = [argument_list(path, position) for position in range(2)]
        if lists[0] == lists[1] != "":
            lines.append(f'        "{path}") {_asked(lists[0])} ;;')
        elif any(lists):
            cases = "".join(f" {at}) {_asked(one)} ;;" for at, one in enumerate(lists))
            lines.append(f'        "{path}") case "$2" in{cases} esac ;;')
    lines += ["    esac", "}"]
    return "\n".join(lines) + _BASH_TAIL.replace("@GLOBAL@", "|".join(_taking_values())).replace(
        "@GROUPS@", "|".join(sorted(GROUPS))
    )


def _asked(chosen: str) -> str:
    """The shell's words that print a list."""
    return f"{LISTS[chosen]} 2>/dev/null" if chosen in LISTS else f'echo "{chosen}"'


# No variable here is called path or words: zsh, which runs this too, has those of its own.
_BASH_TAIL = """
_naru() {
    local typed=("${COMP_WORDS[@]:1:$COMP_CWORD}") where="" whole="" taking="" flag="" given=0 word
    local current="${COMP_WORDS[COMP_CWORD]}" last=$((COMP_CWORD - 1)) at
    for ((at = 0; at < last; at++)); do
        word="${typed[at]}"
        if [ -z "$whole" ]; then
            case "$word" in
                @GLOBAL@) if [ -z "$where" ]; then at=$((at + 1)); fi ;;
                -*) ;;
                *)
                    if [ -z "$where" ]; then
                        where="$word"
                        case "$word" in @GROUPS@) ;; *) whole=1 ;; esac
                    else
                        where="$where $word"
                        whole=1
                    fi
                    if [ -n "$whole" ]; then taking=" $(_naru_taking "$where") "; fi
                    ;;
            esac
        elif [[ "$word" == -* && "$taking" == *" $word "* ]]; then
            at=$((at + 1))
            if [ "${typed[at]}" = "=" ] && [ "$at" -lt "$last" ]; then at=$((at + 1)); fi
            if [ "$at" -eq "$last" ]; then flag="$word"; fi
        elif [[ "$word" != -* ]]; then
            given=$((given + 1))
        fi
    done
    local IFS=$' \\t\\n'
    if [ "$current" = "=" ]; then current=""; fi
    if [ -n "$flag" ]; then
        COMPREPLY=($(compgen -W "$(_naru_values "$where" "$flag")" -- "$current"))
        if [[ "${#COMPREPLY[@]}" -eq 1 && "${COMPREPLY[0]}" == *= ]]; then
            compopt -o nospace 2>/dev/null
        fi
        if [ "${#COMPREPLY[@]}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
    elif [[ "$current" == -* ]]; then
        COMPREPLY=($(compgen -W "$(_naru_flags "$where")" -- "$current"))
    else
        word="$(_naru_words "$where") $(_naru_names "$where" "$given")"
        COMPREPLY=($(compgen -W "$word" -- "$current"))
        if [ "${#COMPREPLY[@]}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
    fi
    if [ -n "${BASH_VERSION-}" ] && declare -F __ltrim_colon_completions >/dev/null; then
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
        values = value_lists(path)
        lines += [_fish_flag(f"'__naru_at {path}'", flag, values) for flag in command.flags.all]
        for chosen in sorted({argument_list(path, 0), argument_list(path, 1)} - {""}):
            lines.append(f"complete -c naru -n '__naru_at {path}' -a '{_fish_list(chosen)}'")
    return "\n".join(line for line in lines if line) + "\n"


def _fish_list(chosen: str) -> str:
    """A list between single quotes."""
    return f"({LISTS[chosen]} 2>/dev/null)".replace("'", "\\'") if chosen in LISTS else chosen


def _fish_flag(where: str, flag: Flag, values: Mapping[str, str] | None = None) -> str:
    if not flag.help:
        return ""
    short = f" -s {flag.short}" if flag.short else ""
    value = "" if flag.kind is BOOL else " -x"
    if chosen := (values or {}).get(f"--{flag.name}"):
        value += f" -a '{_fish_list(chosen)}'"
    return f"complete -c naru -n {where}{short} -l {flag.name}{value} -d {_fish_text(flag.help)}"


def _command(shell: str, script: Callable[[], str]) -> Command:
    def run(session: Session, values: Values, arguments: list[str]) -> None:
        sys.stdout.write(script())

    return Command(run, "", f"Generate the completion script for {shell}")


BASH = _command("bash", bash_script)
FISH = _command("fish", fish_script)
ZSH = _command("zsh", zsh_script)
