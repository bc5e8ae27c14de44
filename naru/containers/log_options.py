"""What a container's log configuration means: limits, and what `--details` shows. Pure."""

from naru.base.errors import InvalidParameter, Unsupported
from naru.base.units import is_number, parse_size
from naru.containers.model import Container
from naru.runtime.logs.service import LogLimits
from naru.spec.engine.container_config import LogConfig

DRIVERS = frozenset({"json-file", "local", "none"})
LOG_FILE = "container.log"


def log_limits(config: LogConfig) -> LogLimits:
    """`max-size` and `max-file` of a log configuration. Raises: InvalidParameter, Unsupported."""
    if config.type not in DRIVERS:
        raise InvalidParameter(
            f'error looking up logging plugin {config.type}: plugin "{config.type}" not found'
        )
    options = config.config or {}
    for name, value in options.items():
        if name in ("tag", "labels-regex", "env-regex", "max-buffer-size"):
            raise Unsupported(f"log opt '{name}' is not offered by this release of Naru")
        if (name, value) in (("compress", "true"), ("mode", "non-blocking")):
            raise Unsupported(f"log opt '{name}={value}' is not offered by this release of Naru")
        if name not in ("max-size", "max-file", "labels", "env", "compress", "mode"):
            raise InvalidParameter(f"unknown log opt '{name}' for {config.type} log driver")
    defaults = LogLimits()
    size = defaults.max_bytes
    if "max-size" in options:
        size = -1 if options["max-size"] == "-1" else parse_size(options["max-size"])
    count = options.get("max-file", str(defaults.max_files))
    if not is_number(count) or int(count) < 1:
        raise InvalidParameter(f"max-file must be a positive number, not '{count}'")
    return LogLimits(size, int(count))


def log_details(container: Container) -> bytes:
    """What `--details` shows before each line: the labels and variables that the log names."""
    options = container.host_config.log_config.config or {}
    own = container.config.labels or {}
    shown = {name: own[name] for name in _words(options.get("labels")) if name in own}
    variables = dict(item.partition("=")[::2] for item in container.config.env or ())
    shown |= {name: variables[name] for name in _words(options.get("env")) if name in variables}
    return ",".join(f"{name}={value}" for name, value in sorted(shown.items())).encode()


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
