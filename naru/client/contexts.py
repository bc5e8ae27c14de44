"""Contexts: named engines, stored below `~/.docker/contexts` in the form that docker's CLI uses.

`meta/<sha256 of the name>/meta.json` holds name, description and endpoint; TLS files lie in
`tls/<sha256>/docker/`. The context `default` is not stored: it is what flags and environment say.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from naru.base.errors import InvalidParameter, NotFound
from naru.client.endpoint import TlsFiles
from naru.client.wire import decode, encode, encode_indented

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT = "default"
TLS_NAMES = ("ca.pem", "cert.pem", "key.pem")
_FIRST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True, slots=True)
class ContextEndpoint:
    host: str
    skip_verify: bool = False
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class Context:
    name: str
    endpoint: ContextEndpoint
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def check_name(name: str) -> None:
    """Raises: InvalidParameter for a name that cannot be a context's."""
    if name == DEFAULT:
        raise InvalidParameter('"default" is a reserved context name')
    if len(name) < 2 or name[0] not in _FIRST or set(name) - set(_FIRST + "_.+-"):
        raise InvalidParameter(
            f'context name "{name}" is invalid, names are validated against regexp '
            '"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"'
        )


class ContextStore:
    """The contexts below one configuration folder."""

    def __init__(self, config_dir: str) -> None:
        self._root = os.path.join(config_dir, "contexts")

    def metadata_folder(self, name: str) -> str:
        return os.path.join(self._root, "meta", hashlib.sha256(name.encode()).hexdigest())

    def tls_folder(self, name: str) -> str:
        return os.path.join(self._root, "tls", hashlib.sha256(name.encode()).hexdigest())

    def load(self, name: str) -> Context:
        """Raises: NotFound, InvalidParameter."""
        path = os.path.join(self.metadata_folder(name), "meta.json")
        try:
            with open(path, "rb") as file:
                return self._context(decode(file.read()))
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise NotFound(f'context "{name}": context not found: open {path}: {reason}') from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidParameter(f'context "{name}" is broken: {path}: {error}') from error

    def _context(self, document: Any) -> Context:
        name = document["Name"]
        endpoint = (document.get("Endpoints") or {}).get("docker") or {}
        metadata = dict(document.get("Metadata") or {})
        skip = bool(endpoint.get("SkipTLSVerify"))
        return Context(
            name,
            ContextEndpoint(endpoint.get("Host") or "", skip, self._tls_files(name, skip)),
            str(metadata.get("Description") or ""),
            metadata,
        )

    def _tls_files(self, name: str, skip: bool) -> TlsFiles | None:
        folder = os.path.join(self.tls_folder(name), "docker")
        paths = [os.path.join(folder, file) for file in TLS_NAMES]
        if not any(os.path.exists(path) for path in paths):
            return None
        ca, cert, key = (path if os.path.exists(path) else "" for path in paths)
        return TlsFiles(ca, cert, key, not skip)

    def names(self) -> list[str]:
        """Every stored context, sorted; those that cannot be read are left out."""
        found = []
        folder = os.path.join(self._root, "meta")
        for entry in os.listdir(folder) if os.path.isdir(folder) else ():
            try:
                with open(os.path.join(folder, entry, "meta.json"), "rb") as file:
                    found.append(str(decode(file.read())["Name"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return sorted(found)

    def save(self, context: Context, tls: Mapping[str, bytes] | None) -> None:
        """Store `context`; `tls` replaces its TLS files, None leaves them. Raises: OSError."""
        if tls is not None:
            folder = os.path.join(self.tls_folder(context.name), "docker")
            shutil.rmtree(self.tls_folder(context.name), ignore_errors=True)
            for name, data in tls.items():
                _write(os.path.join(folder, name), data, 0o600)
        metadata = {key: value for key, value in context.metadata.items() if key != "Description"}
        if context.description:
            metadata["Description"] = context.description
        document = {
            "Name": context.name,
            "Metadata": metadata,
            "Endpoints": {
                "docker": {
                    "Host": context.endpoint.host,
                    "SkipTLSVerify": context.endpoint.skip_verify,
                }
            },
        }
        path = os.path.join(self.metadata_folder(context.name), "meta.json")
        _write(path, encode(document).encode(), 0o644)

    def tls_data(self, name: str) -> dict[str, bytes]:
        """The TLS files of a context by name."""
        folder = os.path.join(self.tls_folder(name), "docker")
        found = {}
        for file in TLS_NAMES:
            path = os.path.join(folder, file)
            if os.path.exists(path):
                with open(path, "rb") as source:
                    found[file] = source.read()
        return found

    def remove(self, name: str) -> None:
        self.load(name)
        shutil.rmtree(self.metadata_folder(name), ignore_errors=True)
        shutil.rmtree(self.tls_folder(name), ignore_errors=True)


def _write(path: str, data: bytes, mode: int) -> None:
    """Write a file whole or not at all."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    partial = f"{path}.{os.getpid()}"
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    os.replace(partial, path)


def write_current(config_dir: str, config: Mapping[str, Any], name: str) -> None:
    """Make `name` the current context in `config.json`, leaving the rest of it."""
    from_user = dict(config)
    from_user.pop("currentContext", None)
    if name != DEFAULT:
        from_user["currentContext"] = name
    text = encode_indented(from_user, "\t") + "\n"
    _write(os.path.join(config_dir, "config.json"), text.encode(), 0o600)
