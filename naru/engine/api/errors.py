"""The one table from error classes to HTTP status codes, and the JSON that carries the text."""

import errno
import logging

import msgspec

from naru.base import errors
from naru.base.text import visible
from naru.http.message import BadMessage, Response

log = logging.getLogger("naru.api")

JSON = b"Content-Type: application/json\r\n"

_STATUS: dict[type[errors.NaruError], int] = {
    errors.NotModified: 304,
    errors.InvalidParameter: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unsupported: 501,
    errors.Unavailable: 503,
    errors.Internal: 500,
}
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


def message_answer(status: int, message: str) -> Response:
    """`{"message": …}`, as clients expect an error to look."""
    if status == 304:
        return Response(304)
    text = visible(message.encode("utf-8", "replace").decode())
    return Response(status, msgspec.json.encode({"message": text}) + b"\n", JSON)


def status_of(error: errors.NaruError) -> int:
    if isinstance(error, errors.StartFailed):
        return 400 if error.exit_code in (126, 127) else 500
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return 500


def error_answer(error: Exception, request_id: str) -> Response:
    """What the client is told. An error that is not ours is logged here, once, with its trace."""
    if isinstance(error, errors.NaruError):
        return message_answer(status_of(error), error.message)
    if isinstance(error, BadMessage):
        return message_answer(error.status, error.message)
    if isinstance(error, OSError) and error.errno in _OUT_OF_DESCRIPTORS:
        return message_answer(503, "the engine is out of file descriptors: try again later")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return message_answer(500, f"no space left on the disk: {error.filename or error}")
    log.error("request %s failed", request_id, exc_info=error)
    detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return message_answer(
        500, f"internal error ({detail}); the engine's log has the details under {request_id}"
    )
