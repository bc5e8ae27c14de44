"""`naru cp`: files between a container and here, by docker's rules on trailing `/.` and names."""

from __future__ import annotations

import os
import stat
import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, Flag, Flags
from naru.cli.progress import Counter
from naru.cli.streams import write_all
from naru.cli.transfer import file_chunks
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from naru.cli.flags import Values
    from naru.cli.session import Session
    from naru.client.engine import Engine

GO_DIRECTORY = 1 << 31
GO_SYMLINK = 1 << 27
FLAGS = Flags(
    Flag("archive", "a", BOOL, "Archive mode (copy all uid/gid information)"),
    Flag("follow-link", "L", BOOL, "Always follow symbol link in SRC_PATH"),
    Flag("quiet", "q", BOOL, "Suppress progress output during copy"),
)


def split_argument(text: str) -> tuple[str, str]:
    """Container and path of `container:path`; no container for a path of ours."""
    if text.startswith(("/", ".")):
        return "", text
    container, colon, path = text.partition(":")
    if not colon or container.startswith("."):
        return "", text
    return container, path


def wants_contents(path: str) -> bool:
    return path.endswith("/.") or path == "."


def wants_folder(path: str) -> bool:
    return path.endswith("/") or wants_contents(path)


def base_name(path: str) -> str:
    return os.path.basename(os.path.normpath(path)) or "/"


def run(session: Session, values: Values, arguments: list[str]) -> None:
    source_container, source = split_argument(arguments[0])
    target_container, target = split_argument(arguments[1])
    if source_container and target_container:
        raise CommandError("copying between containers is not supported")
    if not source or not target:
        raise CommandError("must specify both a source and a destination path")
    if source_container:
        _copy_out(session.engine, values, source_container, source, target)
    elif target_container:
        _copy_in(session.engine, values, source, target_container, target)
    else:
        raise CommandError("must specify at least one container source")


def _absolute(path: str) -> str:
    return path if path.startswith("/") else "/" + path


def _copy_out(engine: Engine, values: Values, container: str, source: str, target: str) -> None:
    path = _absolute(source)
    if values["follow-link"]:
        path = _followed(engine, container, path)
    if target == "-":
        sys.stdout.flush()
        for data in containers.get_archive(engine, container, path).chunks():
            write_all(1, data)
        return
    folder = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(folder):
        raise CommandError(f'invalid output path: directory "{folder}" does not exist')
    answer = containers.get_archive(engine, container, path)
    is_folder = bool(containers.decode_stat(answer)["mode"] & GO_DIRECTORY)
    into, rename = local_target(target, path, is_folder)
    counter = Counter(f"Copying from container to {target}", values["quiet"])
    from naru.cli.copy_archive import unpack

    stream = _counted(answer.chunks(), counter)
    _sent(
        counter,
        lambda: unpack(stream, into, rename, values["archive"]),
        f"Successfully copied to {target}",
    )


def local_target(target: str, source: str, is_folder: bool) -> tuple[str, str | None]:
    """The folder to unpack into here, and what the archive's root entry is to be called there.

    Raises: CommandError when source and target do not go together.
    """
    if os.path.isdir(target):
        return target, "" if is_folder and wants_contents(source) else None
    if os.path.exists(target):
        if is_folder:
            raise CommandError("cannot copy directory")
        if target.endswith("/"):
            raise CommandError("not a directory")
    elif not is_folder and wants_folder(target):
        raise CommandError("no such directory")
    full = os.path.abspath(target)
    return os.path.dirname(full), os.path.basename(full)


def _followed(engine: Engine, container: str, path: str) -> str:
    """`path`, or where the symbolic link there leads. Raises: NaruError."""
    found = containers.stat_path(engine, container, path)
    if not found["mode"] & GO_SYMLINK:
        return path
    target: str = found["linkTarget"]
    return target if target.startswith("/") else os.path.join(os.path.dirname(path), target)


def _target_stat(engine: Engine, container: str, path: str) -> tuple[str, Any]:
    """Where the destination is, links followed, and what is there (None: nothing)."""
    try:
        path = _followed(engine, container, path)
        return path, containers.stat_path(engine, container, path)
    except NaruError as error:
        if getattr(error, "status", 0) != 404:
            raise
        if "No such container" in error.message:
            raise
        return path, None


def _copy_in(engine: Engine, values: Values, source: str, container: str, target: str) -> None:
    path, found = _target_stat(engine, container, _absolute(target))
    is_folder = found is not None and bool(found["mode"] & GO_DIRECTORY)
    counter = Counter(f"Copying to container {container}", values["quiet"])
    if source == "-":
        if not is_folder:
            raise CommandError(f'destination "{container}:{target}" must be a directory')
        archive: Iterable[bytes] = file_chunks(0)
        folder = path
    else:
        here = _local_mode(source, values["follow-link"])
        folder, name = container_target(
            path, found is not None, is_folder, source, stat.S_ISDIR(here), target
        )
        from naru.cli.copy_archive import pack

        follow = values["follow-link"] or wants_folder(source)
        archive = pack(os.path.normpath(source), name, follow)
    stream = _counted(archive, counter)
    _sent(
        counter,
        lambda: containers.put_archive(engine, container, folder, stream, values["archive"]),
        f"Successfully copied to {container}:{target}",
    )


def _local_mode(path: str, follow: bool) -> int:
    try:
        status = os.stat(path) if follow or wants_folder(path) else os.lstat(path)
    except OSError as error:
        full = os.path.abspath(path)
        raise CommandError(f"lstat {full}: {(error.strerror or '').lower()}") from error
    if path.endswith("/") and not stat.S_ISDIR(status.st_mode):
        raise CommandError("not a directory")
    return status.st_mode


def container_target(
    path: str, exists: bool, is_folder: bool, source: str, source_is_folder: bool, written: str
) -> tuple[str, str]:
    """The container's folder to unpack in, and the archive's root entry. Raises: CommandError."""
    if exists and is_folder:
        contents = source_is_folder and wants_contents(source)
        return path, "." if contents else base_name(os.path.abspath(source))
    if exists and source_is_folder:
        raise CommandError("cannot copy directory")
    if exists and written.endswith("/"):
        raise CommandError("not a directory")
    if not source_is_folder and wants_folder(written):
        raise CommandError("no such directory")
    full = os.path.normpath(path)
    return os.path.dirname(full), os.path.basename(full)


def _counted(chunks: Iterable[bytes], counter: Counter) -> Iterator[bytes]:
    for data in chunks:
        counter.add(len(data))
        yield data


def _sent(counter: Counter, send: Callable[[], None], text: str) -> None:
    try:
        send()
    except BaseException:
        counter.give_up()
        raise
    counter.done(text)


CP = Command(
    run,
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files/folders between a container and the local filesystem",
    FLAGS,
    2,
    2,
    long=(
        "Use '-' as the source to read a tar archive from stdin\n"
        "and extract it to a directory destination in a container.\n"
        "Use '-' as the destination to stream a tar archive of a\n"
        "container source to stdout."
    ),
)
