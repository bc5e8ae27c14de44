"""Words of a Dockerfile line: quotes, backslashes and `$variables`. Pure.

Spec: Dockerfile reference, "Environment replacement" and "Escape".
"""

import json
import re
from collections.abc import Mapping

from naru.base.errors import InvalidParameter

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#]")
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+?])((?:[^{}\\]|\\.)*))?\}")


def split_raw(text: str) -> list[str]:
    """The words of `text`, their quotes and backslashes kept."""
    words, word, quote, index = [], "", "", 0
    while index < len(text):
        char = text[index]
        if char == "\\" and quote != "'" and index + 1 < len(text):
            word += text[index : index + 2]
            index += 2
            continue
        if quote:
            quote = "" if char == quote else quote
            word += char
        elif char in "'\"":
            quote = char
            word += char
        elif char.isspace():
            if word:
                words.append(word)
            word = ""
        else:
            word += char
        index += 1
    return [*words, word] if word else words


def expand(text: str, env: Mapping[str, str]) -> str:
    """`text` without its quotes and with its variables put in. Raises: InvalidParameter."""
    out, quote, index = "", "", 0
    while index < len(text):
        char = text[index]
        if quote == "'":
            quote = "" if char == "'" else quote
            out += "" if char == "'" else char
        elif char == "\\" and index + 1 < len(text):
            index += 1
            kept = quote == '"' and text[index] not in '"$\\'
            out += ("\\" if kept else "") + text[index]
        elif char == '"' or (char == "'" and not quote):
            quote = "" if quote else char
        elif char == "$":
            value, index = _variable(text, index, env)
            out += value
            continue
        else:
            out += char
        index += 1
    if quote:
        wanted = "single" if quote == "'" else "double"
        raise InvalidParameter(
            f"unexpected end of statement while looking for matching {wanted}-quote"
        )
    return out


def _variable(text: str, index: int, env: Mapping[str, str]) -> tuple[str, int]:
    braced = _BRACED.match(text, index + 1)
    if braced is None:
        if text.startswith("{", index + 1):
            raise InvalidParameter("syntax error: missing '}' or unsupported modifier")
        plain = _NAME.match(text, index + 1)
        return ("$", index + 1) if plain is None else (env.get(plain[0], ""), plain.end())
    name, operator, word = braced[1], braced[2] or "", braced[3] or ""
    given = name in env and (env[name] != "" or not operator.startswith(":"))
    if operator.endswith("-") and not given:
        return expand(word, env), braced.end()
    if operator.endswith("+"):
        return (expand(word, env) if given else ""), braced.end()
    if operator.endswith("?") and not given:
        raise InvalidParameter(f"{name}: {expand(word, env) or 'not set'}")
    return env.get(name, ""), braced.end()


def json_strings(text: str) -> list[str] | None:
    """`["a", "b"]` as a list; None when `text` is no JSON array of strings."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and all(isinstance(item, str) for item in found):
        return found
    return None


def pairs(instruction: str, text: str) -> list[tuple[str, str]]:
    """`KEY=value …`, or the old `KEY rest of the line`. Raises: InvalidParameter."""
    words = split_raw(text)
    if not words:
        raise InvalidParameter(f"{instruction} requires at least one argument")
    if "=" not in words[0]:
        key = words[0]
        value = text.strip()[len(key) :].strip()
        if not value:
            raise InvalidParameter(f"{instruction} must have two arguments")
        return [(key, value)]
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidParameter(
                f"Syntax error - can't find = in {json.dumps(word)}. Must be of the form: "
                "name=value"
            )
        if not key:
            raise InvalidParameter(f"{instruction} names can not be blank")
        found.append((key, value))
    return found
