"""The engine's own log: one line per record on stderr, as text or as JSON.

A record's `fields` (`log.info(…, extra={"fields": {…}})`) become `key=value` pairs or JSON members.
"""

import logging
import sys
import time
from typing import Any

import msgspec

_LEVELS = {"WARNING": "warn", "CRITICAL": "fatal"}


def _when(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _level(record: logging.LogRecord) -> str:
    return _LEVELS.get(record.levelname, record.levelname.lower())


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


class TextFormatter(logging.Formatter):
    """`time=… level=info msg="…" key=value`: what people grep."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = [
            f"time={_when(record)}",
            f"level={_level(record)}",
            f"area={record.name.removeprefix('naru.')}",
            f"msg={_quoted(record.getMessage())}",
            *(f"{key}={_quoted(str(value))}" for key, value in _fields(record).items()),
        ]
        line = " ".join(pairs)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _quoted(text: str) -> str:
    plain = text.isprintable() and text and not any(mark in text for mark in ' "=\\')
    return text if plain else msgspec.json.encode(text).decode()


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        body = {
            "time": _when(record),
            "level": _level(record),
            "area": record.name.removeprefix("naru."),
            "msg": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            body["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(body, enc_hook=str).decode()


def set_up(log_format: str, *, level: str) -> None:
    """Send everything to stderr. `log_format`: text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)
    logging.raiseExceptions = False


def set_level(name: str) -> None:
    """`debug`, `info`, `warn`, `error` or `fatal`; libraries beneath stay at warnings."""
    level = {"warn": "WARNING", "fatal": "CRITICAL"}.get(name, name.upper())
    logging.getLogger("naru").setLevel(level)
