"""Who changed what: one log line per state-changing call, secrets blanked."""

import logging
import re

from naru.http.message import Peer

log = logging.getLogger("naru.audit")

_SECRET = re.compile(
    r"(?i)((?:^|[?&;\s\"'])[^=&\s]*(?:pass(?:word|wd)?|secret|token|api_?key|credential|auth)"
    r"[^=&\s]*=)[^&\s]+"
)


def blank(text: str) -> str:
    """`text` with the values of whatever looks like a secret replaced."""
    return _SECRET.sub(r"\1***", text)


def caller(peer: Peer) -> str:
    if peer.kind == "unix":
        return f"uid={peer.uid} gid={peer.gid} pid={peer.pid}"
    return f"{peer.address} {peer.subject}".strip()


def record(
    identifier: str, peer: Peer, method: str, path: str, query: str, status: int, took_ms: float
) -> None:
    """Write the line. Bodies are never logged: they hold environments and credentials."""
    fields = {
        "request": identifier,
        "caller": caller(peer),
        "call": f"{method} {path}",
        "status": status,
        "ms": round(took_ms, 1),
    }
    if query:
        fields["query"] = blank(query)
    log.info("changed", extra={"fields": fields})
