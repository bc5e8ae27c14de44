"""The Engine API as our command line speaks it: versions, errors, JSON bodies, hijacks.

One `Engine` stands for one engine at one address. Areas of the API (containers, images, …) are
modules of functions beside this one, which take an `Engine` first.
"""

from __future__ import annotations

from naru.base.errors import InvalidParameter, NaruError
from naru.client.wire import decode, encode, query
from naru.http.client import Hijacked, HttpClient, ProtocolError, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from naru.http.client import Stream

API_VERSION = "1.51"
OLDEST_API_VERSION = "1.24"
NOT_MODIFIED = 304
USER_AGENT = "naru/0.1.0"
_ERROR_BODY_LIMIT_BYTES = 1 << 20


class ApiError(NaruError):
    """The engine refused: its status and its own words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"Error response from daemon: {reason}")
        self.status = status
        self.reason = reason


class Unreachable(NaruError):
    """No engine answers at the address."""


def version_key(version: str) -> tuple[int, int]:
    """A version as numbers that compare; (0, 0) when it is none."""
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def named(kind: str, name: str) -> str:
    """`name` without blanks around it. Raises: InvalidParameter when nothing is left."""
    name = name.strip()
    if not name:
        raise InvalidParameter(f"invalid {kind} name or ID: value is empty")
    return name


def authority(host: str) -> str:
    """The Host header for an engine's address: an engine on TCP checks that it is named."""
    return host[len("tcp://") :] if host.startswith("tcp://") else "api.naru.internal"


class Engine:
    """An engine at `host`, reached by `dial`; the API version is agreed on at the first call."""

    def __init__(
        self,
        host: str,
        dial: Callable[[], Stream],
        version: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host
        self._wanted = version
        self._version: str | None = None
        self.ping_headers: Mapping[str, str] = {}
        common = {"Host": authority(host), "User-Agent": USER_AGENT, **(headers or {})}
        self._http = HttpClient(dial, common)

    @property
    def version(self) -> str:
        """The API version of the requests: the wanted one, or the newest that both know."""
        if self._version is None:
            self._version = self._wanted or self._negotiate()
        return self._version

    def is_older_than(self, version: str) -> bool:
        return version_key(self.version) < version_key(version)

    def require(self, version: str, what: str) -> None:
        """Raises: InvalidParameter when requests are made under an older version."""
        if self.is_older_than(version):
            raise InvalidParameter(
                f'"{what}" requires API version {version}, but the Docker daemon API version is '
                f"{self.version}"
            )

    def _negotiate(self) -> str:
        answer = self._send("HEAD", "/_ping", None, None)
        answer.close()
        self.ping_headers = answer.headers
        theirs = answer.headers.get("api-version", "")
        if version_key(theirs) < version_key(OLDEST_API_VERSION):
            return OLDEST_API_VERSION if theirs else API_VERSION
        return min(theirs, API_VERSION, key=version_key)

    def _send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None,
        body: bytes | Iterable[bytes] | None,
    ) -> Response:
        try:
            return self._http.request(method, target, headers, body)
        except ProtocolError as error:
            raise Unreachable(f"The engine at {self.host} broke off: {error}") from error
        except PermissionError as error:
            raise Unreachable(
                "permission denied while trying to connect to the Docker daemon socket at "
                f"{self.host}: run as root or join the group that owns the socket"
            ) from error
        except OSError as error:
            raise Unreachable(self._unreachable_text(error)) from error

    def _unreachable_text(self, error: OSError) -> str:
        text = f"Cannot connect to the Docker daemon at {self.host}. Is narud running?"
        if isinstance(error, (FileNotFoundError, ConnectionError)):
            return text
        return f"{text} ({error.strerror or error})"

    def call(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Any] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request under the agreed version; an answer of 400 and above is an ApiError.

        So is one that sends us elsewhere, as engines answer names like `../x`.

        Raises: ApiError, Unreachable.
        """
        target = f"/v{self.version}{path}{query(parameters or {})}"
        answer = self._send(method, target, headers, body)
        if answer.status >= 400:
            raise self._error(answer)
        if answer.status >= 300 and answer.status != NOT_MODIFIED:
            answer.close()
            raise ApiError(answer.status, "unexpected redirect in response")
        return answer

    def _error(self, answer: Response) -> ApiError:
        data = b""
        for chunk in answer.chunks():
            data += chunk
            if len(data) > _ERROR_BODY_LIMIT_BYTES:
                answer.close()
                break
        try:
            message = decode(data)["message"].strip()
        except (ValueError, KeyError, TypeError, AttributeError):
            message = data.decode("utf-8", "replace").strip()
        return ApiError(answer.status, message or f"status {answer.status} and no word why")

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The decoded JSON answer of a GET. Raises: ApiError, Unreachable."""
        return self._decoded(self.call("GET", path, parameters))

    def post(
        self,
        path: str,
        parameters: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> Any:
        """POST `body` as JSON; the decoded answer, None when it is empty."""
        if body is None:
            return self._decoded(self.call("POST", path, parameters))
        headers = {"Content-Type": "application/json"}
        return self._decoded(self.call("POST", path, parameters, encode(body).encode(), headers))

    def delete(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return self._decoded(self.call("DELETE", path, parameters))

    def _decoded(self, answer: Response) -> Any:
        data = self._whole(answer)
        if not data:
            return None
        try:
            return decode(data)
        except ValueError as error:
            raise Unreachable(f"The engine at {self.host} sent {error}") from error

    def _whole(self, answer: Response) -> bytes:
        try:
            return answer.read()
        except OSError as error:
            raise Unreachable(f"The engine at {self.host} broke off: {error}") from error

    def documents(self, answer: Response) -> Iterator[Any]:
        """The JSON documents of a streaming answer, one a line, as they come."""
        try:
            for line in answer.lines():
                if line.strip():
                    yield decode(line)
        except ValueError as error:
            raise Unreachable(f"The engine at {self.host} sent {error}") from error
        except OSError as error:
            raise Unreachable(f"The engine at {self.host} broke off: {error}") from error

    def hijack(
        self, path: str, parameters: Mapping[str, Any] | None = None, body: Any = None
    ) -> tuple[Hijacked, str]:
        """POST and take the connection over; with it the content type of what comes.

        Raises: ApiError, Unreachable.
        """
        headers = {"Connection": "Upgrade", "Upgrade": "tcp", "Content-Type": "application/json"}
        data = b"" if body is None else encode(body).encode()
        answer = self.call("POST", path, parameters, data, headers)
        return answer.take_over(), answer.headers.get("content-type", "")

    def close(self) -> None:
        self._http.close()
