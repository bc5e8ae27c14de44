"""Identifiers: 64 hexadecimal digits, and the short form that people see."""

import re
import secrets

_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")

NAME_RULE = "[a-zA-Z0-9][a-zA-Z0-9_.-]"


def new_id() -> str:
    """A fresh 64-digit id whose short form is never a plain decimal number."""
    while True:
        value = secrets.token_hex(32)
        if not value[:12].isdigit():
            return value


def short(identifier: str) -> str:
    """The 12 digits that people see; an algorithm prefix (`sha256:`) is dropped."""
    return identifier.rpartition(":")[2][:12]


def is_id(text: str) -> bool:
    return _HEX64.match(text) is not None


def is_name(text: str) -> bool:
    """Whether `text` may name a container, volume or network (Docker's restricted charset)."""
    return _NAME.match(text) is not None
