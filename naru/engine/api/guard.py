"""Who may talk to us from a browser: nobody whose page we did not serve. Pure.

A page of a stranger can make a browser send requests to a TCP address of this host (cross-site
POST, WebSocket), also under a name of the stranger's that resolves to us (DNS rebinding). The
first carries a foreign `Origin`, the second a foreign `Host`.
"""

import ipaddress
from collections.abc import Collection

from naru.base.errors import Forbidden
from naru.http.message import Request


def check_origin(request: Request, host_names: Collection[str]) -> None:
    """Raises: Forbidden. `host_names` (lower case): names besides addresses that are ours."""
    headers = request.headers
    origin = headers.get(b"origin")
    if origin is not None:
        _, found, authority = origin.decode("latin-1").partition("://")
        if not found or authority.lower() != request.header(b"host").lower():
            raise Forbidden("requests from web pages of other origins are refused (header Origin)")
    elif headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        raise Forbidden("requests from web pages of other sites are refused (Sec-Fetch-Site)")
    if request.peer.kind == "unix":
        return
    host = request.header(b"host")
    name = _host_name(host)
    if name not in host_names and not _is_address(name):
        raise Forbidden(
            f"the header Host names {host!r}, which is no name of this engine: "
            "use its address, or list the name in the option host-names"
        )


def _host_name(host: str) -> str:
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name if port.startswith(":") or not port else host
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
