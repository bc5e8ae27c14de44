"""From method and path to a handler. Pure.

Every path of the Engine API is one of: fixed (`/info`), a noun and a name (`/containers/{name}`),
or these with one or two fixed words behind (`/containers/{name}/start`, `…/attach/ws`). A name may
hold slashes (images). So a look-up is at most four probes of dictionaries, whatever their size.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from naru.base.errors import InvalidParameter
from naru.base.units import is_number
from naru.engine.api.call import MAX_VERSION, MIN_VERSION, Call
from naru.http.message import Answer, Response

Now = Callable[[Call], Response | None]
Later = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """`handler` answers later; `now` at once, without a task (it must not block or wait), or says
    None: then `handler` does.
    """

    method: str
    path: str
    handler: Later | None = None
    now: Now | None = None


class TooOld(InvalidParameter):
    """The client asks for a version from before we serve; Docker answers in plain text."""


class Router:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[tuple[str, str], Route] = {}
        self._tail: dict[tuple[str, str, str], Route] = {}
        self._named: dict[tuple[str, str], Route] = {}
        for route in routes:
            before, variable, after = route.path.partition("{name}")
            if not variable:
                self._fixed.setdefault((route.method, route.path), route)
            elif after:
                self._tail.setdefault((route.method, before, after), route)
            else:
                self._named.setdefault((route.method, before), route)

    def find(self, method: str, path: str) -> tuple[Route, str] | None:
        """The route and the path's variable part (still percent-encoded), None: no such page."""
        route = self._fixed.get((method, path))
        if route is not None:
            return route, ""
        cut = path.find("/", 1) + 1
        if not cut:
            return None
        before, rest = path[:cut], path[cut:]
        last = rest.rfind("/")
        if last > 0:
            for at in (rest.rfind("/", 0, last), last):
                route = self._tail.get((method, before, rest[at:])) if at > 0 else None
                if route is not None:
                    return route, rest[:at]
        route = self._named.get((method, before))
        return (route, rest) if route is not None and rest else None


_PREFIXES = {f"v1.{minor}": minor for minor in range(MIN_VERSION, MAX_VERSION + 1)}


def split_version(path: str) -> tuple[int, str]:
    """The minor API version and the path without it; without a prefix the newest.

    Raises: TooOld, InvalidParameter (too new), in Docker's words.
    """
    if not path.startswith("/v"):
        return MAX_VERSION, path
    prefix, slash, rest = path[1:].partition("/")
    minor = _PREFIXES.get(prefix)
    if minor is not None:
        return minor, slash + rest
    numbers = prefix[1:].split(".")
    if not slash or len(numbers) != 2 or not all(map(is_number, numbers)):
        return MAX_VERSION, path
    asked = prefix[1:]
    if tuple(map(int, numbers)) < (1, MIN_VERSION):
        raise TooOld(
            f"client version {asked} is too old. Minimum supported API version is "
            f"1.{MIN_VERSION}, please upgrade your client to a newer version"
        )
    raise InvalidParameter(
        f"client version {asked} is too new. Maximum supported API version is 1.{MAX_VERSION}"
    )
