"""One run of the program: global flags, the user's configuration, and the engine talked to."""

from __future__ import annotations

import os
import sys

from naru.cli.command import CommandError
from naru.client.engine import Engine
from naru.client.wire import decode
from naru.http.client import dial_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.client.endpoint import TlsFiles

DEFAULT_CONTEXT = "default"
OWN_SOCKET = "/run/naru/naru.sock"
OTHER_SOCKET = "/var/run/docker.sock"


class Session:
    """What a command works with. `command` is its full name, as `naru container ls`."""

    def __init__(self, options: Values, command: str) -> None:
        self.options = options
        self.command = command
        self._engine: Engine | None = None
        self._config: dict[str, Any] | None = None

    @property
    def config_dir(self) -> str:
        given: str = self.options["config"] or os.environ.get("DOCKER_CONFIG", "")
        return given or os.path.join(os.path.expanduser("~"), ".docker")

    @property
    def config(self) -> dict[str, Any]:
        """`config.json`, empty when there is none. Raises: CommandError when it is broken."""
        if self._config is None:
            self._config = self._read_config()
        return self._config

    def _read_config(self) -> dict[str, Any]:
        path = os.path.join(self.config_dir, "config.json")
        try:
            with open(path, "rb") as file:
                value = decode(file.read())
        except FileNotFoundError:
            return {}
        except OSError as error:
            sys.stderr.write(f"WARNING: Error loading config file: {error}\n")
            return {}
        except ValueError as error:
            raise CommandError(f"the config file {path} is broken: {error}") from error
        return value if isinstance(value, dict) else {}

    def config_text(self, key: str) -> str:
        """The text at `key` of the configuration, empty when there is none."""
        value = self.config.get(key)
        return value if isinstance(value, str) else ""

    def context_name(self) -> str:
        """The context in force. Raises: CommandError when flags contradict each other."""
        named: str = self.options["context"]
        if self.options["host"]:
            if named:
                raise CommandError("conflicting options: cannot specify both --host and --context")
            return DEFAULT_CONTEXT
        if named:
            return named
        if os.environ.get("NARU_HOST") or os.environ.get("DOCKER_HOST"):
            return DEFAULT_CONTEXT
        return (
            os.environ.get("DOCKER_CONTEXT")
            or self.config_text("currentContext")
            or DEFAULT_CONTEXT
        )

    def default_host(self) -> str:
        """The host of the default context: flag, environment, else the socket that is there."""
        hosts: list[str] = self.options["host"]
        if len(hosts) > 1:
            raise CommandError("Specify only one -H")
        for host in (*hosts, os.environ.get("NARU_HOST"), os.environ.get("DOCKER_HOST")):
            if host:
                return host
        return f"unix://{OWN_SOCKET if os.path.exists(OWN_SOCKET) else OTHER_SOCKET}"

    @property
    def engine(self) -> Engine:
        """The engine that flags, environment and context name. Raises: CommandError."""
        if self._engine is None:
            self._engine = self._connect()
        return self._engine

    def connect(self) -> Engine:
        """One more engine client for the same address, for use in another thread."""
        return self._connect(self.engine.version)

    def _connect(self, agreed: str | None = None) -> Engine:
        context = self.context_name()
        tls: TlsFiles | None = None
        if context != DEFAULT_CONTEXT:
            from naru.client.contexts import ContextStore

            endpoint = ContextStore(self.config_dir).load(context).endpoint
            host, tls = endpoint.host, endpoint.tls
        else:
            host = self.default_host()
        version = agreed or os.environ.get("DOCKER_API_VERSION") or None
        headers = self._extra_headers()
        if host.startswith("unix://") and not tls:
            path = host[len("unix://") :] or OTHER_SOCKET
            return Engine(host, lambda: dial_unix(path), version, headers)
        from naru.client.endpoint import dialer

        host, dial = dialer(host, tls or self._flag_tls())
        return Engine(host, dial, version, headers)

    def _flag_tls(self) -> TlsFiles | None:
        from naru.client.endpoint import TlsFiles

        options = self.options
        verify = options["tlsverify"] or bool(os.environ.get("DOCKER_TLS_VERIFY"))
        if "tlsverify" in options.given:
            verify = options["tlsverify"]
        if not (verify or options["tls"]):
            return None
        folder = os.environ.get("DOCKER_CERT_PATH") or self.config_dir
        chosen = []
        for flag, name in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
            path = options[flag] or os.path.join(folder, name)
            chosen.append(path if options[flag] or os.path.exists(path) else "")
        return TlsFiles(chosen[0], chosen[1], chosen[2], verify)

    def _extra_headers(self) -> dict[str, str]:
        found = self.config.get("HttpHeaders")
        if not isinstance(found, dict):
            return {}
        return {str(name): str(value) for name, value in found.items()}

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
