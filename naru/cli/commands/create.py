"""`naru create`: make a container without starting it; `run` begins the same way."""

from __future__ import annotations

import os
import sys

from naru.cli.command import Command, CommandError, RunError
from naru.cli.create_flags import CONTAINER_FLAGS
from naru.cli.create_request import build, check_pull
from naru.cli.flags import Flags
from naru.client import containers, networks
from naru.client.engine import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session
    from naru.client.engine import Engine

FLAGS = Flags(*CONTAINER_FLAGS)
NOT_FOUND = 404


class IdFile:
    """`--cidfile`: kept when the container was made, removed when it was not."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        if not path:
            return
        if os.path.exists(path):
            raise CommandError(
                f"container ID file found, make sure the other container isn't running or delete "
                f"{path}",
                125,
            )
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CommandError(
                f"failed to create the container ID file: open {path}: {reason}", 125
            ) from error

    def keep(self, identifier: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, identifier.encode())
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            os.unlink(self._path)
            self._fd = -1


def create(session: Session, values: Values, body: dict[str, Any]) -> str:
    """Make the container; its id. An image that is missing is asked for first.

    Raises: CommandError, NaruError.
    """
    engine = session.engine
    image: str = body["Image"]
    if values["publish-source"]:
        _check_sources_are_read(engine)
    id_file = IdFile(values["cidfile"])
    try:
        if values["pull"] == "always":
            _pull(session, values, image)
        try:
            made = containers.create(engine, values["name"], values["platform"], body)
        except ApiError as error:
            if not _is_missing_image(error) or values["pull"] != "missing":
                raise
            if not values["quiet"]:
                sys.stderr.write(f"Unable to find image '{_with_tag(image)}' locally\n")
            _pull(session, values, image)
            made = containers.create(engine, values["name"], values["platform"], body)
        identifier, warnings = made
        for warning in warnings:
            sys.stderr.write(f"WARNING: {warning}\n")
        for address in values["dns"]:
            if address.startswith("127.") or address == "::1":
                sys.stderr.write(
                    f"WARNING: Localhost DNS setting (--dns={address}) may fail in containers.\n"
                )
        id_file.keep(identifier)
        return identifier
    finally:
        id_file.discard()


def _check_sources_are_read(engine: Engine) -> None:
    """Raises: CommandError on an engine that would let everyone in all the same."""
    try:
        networks.ports(engine)
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
        raise CommandError(
            f"--publish-source: the engine at {engine.host} is not Naru's, or an older one: it "
            "would leave the ports open to everyone",
            125,
        ) from error


def _is_missing_image(error: ApiError) -> bool:
    return error.status == NOT_FOUND and error.reason.startswith("No such image")


def _with_tag(image: str) -> str:
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def _pull(session: Session, values: Values, image: str) -> None:
    from naru.cli.progress import show_progress
    from naru.client.images import pull

    stream = pull(session.engine, _with_tag(image), values["platform"])
    show_progress(stream, sys.stderr, quiet=values["quiet"])


def run(session: Session, values: Values, arguments: list[str]) -> None:
    try:
        check_pull(values["pull"])
        body = build(values, arguments[0], arguments[1:])
    except CommandError as error:
        raise RunError(error.message, 125) from error
    sys.stdout.write(create(session, values, body) + "\n")


CREATE = Command(
    run,
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a new container",
    FLAGS,
    least=1,
    most=None,
    stop_early=True,
)
