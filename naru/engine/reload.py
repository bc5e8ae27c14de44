"""SIGHUP: which options may change while the engine runs. Pure but for reading the file."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from naru.engine.config import Config, load
from naru.engine.options import OPTIONS


def reload_config(current: Config, argv: Sequence[str]) -> Config:
    """`current` with the reloadable options as the file has them now. Raises: ConfigError."""
    fresh = load(argv)
    changes: dict[str, Any] = {
        option.name: getattr(fresh, option.name) for option in OPTIONS if option.reloadable
    }
    return replace(current, **changes)
