"""The error classes of Naru: what went wrong, without any word about HTTP.

`engine/api/errors.py` is the one place that turns a class into a status code.
The text is part of the API: it says what was asked, what stands in the way, what to do.
"""


class NaruError(Exception):
    """Base of every error that a user may see; the message is shown as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotModified(NaruError):
    """The object is already in the wanted state (start of a running container): 304."""


class InvalidParameter(NaruError):
    """The request itself is wrong: 400."""


class Unauthorized(NaruError):
    """The caller did not say who it is: 401."""


class Forbidden(NaruError):
    """The caller may not do this: 403."""


class NotFound(NaruError):
    """The named object does not exist: 404."""


class Conflict(NaruError):
    """The object's state, or another object, stands in the way: 409."""


class Unsupported(NaruError):
    """Naru knows the option and does not offer it (yet): 501, naming the option."""


class Unavailable(NaruError):
    """Naru cannot serve this now (shutting down, out of descriptors): 503."""


class Internal(NaruError):
    """Something failed beneath Naru (a runtime, the kernel); the text says what: 500."""


class StartFailed(NaruError):
    """The runtime refused to start the workload.

    `exit_code` is what the container's record shows: 126 not executable, 127 not found, 128 else.
    127 and 126 are answered as 400, as Docker does; 128 as 500.
    """

    def __init__(self, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code
