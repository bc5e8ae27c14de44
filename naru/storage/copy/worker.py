"""The process that copies into or out of one container, and ends.

It shuts itself into the container's files (`kernel.view`) before it looks at any path, so whatever
links the container swaps meanwhile lead to the container's own files. Everything it needs is
imported before: nothing is loaded or run from the container. It is not a command for people.
"""

import contextlib
import encodings.idna
import encodings.latin_1
import encodings.utf_8
import errno
import os
import posixpath
import resource
import socket
import stat
import sys

from naru.base.errors import NaruError
from naru.kernel.view import enter_view
from naru.storage.archive.headers import ArchiveError
from naru.storage.archive.output import Output
from naru.storage.archive.pack import Packer, PackPolicy
from naru.storage.archive.reading import Feed, Reader
from naru.storage.archive.source import Source
from naru.storage.archive.tree import Tree
from naru.storage.archive.unpack import Policy, Unpacker
from naru.storage.copy import jobs
from naru.storage.copy.jobs import Answer, Job
from naru.storage.copy.stat import PathStat, go_mode

CONTROL_FD = 3
IDLE_S = 60.0
_DATA_LIMIT_BYTES = 2 << 30
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WRITERS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")
_SWAPS = 100
_READERS = ("DAC_READ_SEARCH",)
_PRELOADED = (encodings.idna, encodings.latin_1, encodings.utf_8)


class Refused(Exception):
    """The copy cannot be done as asked; `kind` as in `jobs.Answer`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


def absolute(path: str) -> str:
    """`path` below `/`, clean, its trailing `/.` or `/` kept, as Docker does."""
    clean = posixpath.normpath("/" + path)
    clean = "/" + clean.lstrip("/")
    if path.endswith("/.") or path == ".":
        return clean.rstrip("/") + "/."
    if path.endswith("/") and clean != "/":
        return clean + "/"
    return clean


def resolve(path: str, *, strict: bool) -> str:
    """`path` without links. A link that is swapped for something else meanwhile is looked at again.

    Raises: OSError; with `strict` for what does not exist too.
    """
    for _ in range(_SWAPS):
        try:
            return os.path.realpath(path, strict=strict)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    raise Refused("invalid", f"{path} changes all the time")


def stat_path(path: str) -> PathStat:
    """What is at `path`, the last link not followed unless the path ends in a slash."""
    found = os.lstat(path)
    target = resolve(path, strict=False) if stat.S_ISLNK(found.st_mode) else ""
    name = posixpath.basename(path.rstrip("/")) or "/"
    return PathStat(name, found.st_size, go_mode(found.st_mode), found.st_mtime_ns, target)


def get(path: str, out_fd: int) -> None:
    """Write the archive of `path`: a directory under its own name, `/.` as its content."""
    output = Output(out_fd, digest=False)
    clean = path.rstrip("/")
    folder, _, name = clean.rpartition("/")
    found = os.lstat(path)
    if stat.S_ISDIR(found.st_mode):
        prefix = "." if name == "." else (name or "/")
        packer = Packer(output, PackPolicy(prefix=os.fsencode(prefix)))
        packer.run(os.open(path, _FOLDER))
    else:
        packer = Packer(output, PackPolicy())
        packer.run_one(os.open(folder or "/", _FOLDER), os.fsencode(name), os.fsencode(name))
    output.finish()


def extraction_point(job: Job) -> str:
    """The directory that is written to, without links.

    Raises: Refused when it is none, or is read-only for the container.
    """
    path = resolve(absolute(job.path), strict=True)
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise Refused("invalid", "extraction point is not a directory")
    mounted = [m for m in job.mounts if path == m[0] or path.startswith(m[0].rstrip("/") + "/")]
    if mounted:
        if not max(mounted, key=lambda mount: len(mount[0]))[1]:
            raise Refused("invalid", "mounted volume is marked read-only")
    elif job.read_only:
        raise Refused("invalid", "container rootfs is marked read-only")
    return path


def put(job: Job, base: str, source_fd: int) -> None:
    """Unpack the stream below `base`."""
    policy = Policy(owner=job.owner, keep_kinds=job.keep_kinds)
    with Source(source_fd, digest=False) as source:
        reader = Reader(Feed(source.chunks()))
        Unpacker(Tree(os.open("/", _FOLDER), os.fsencode(base.strip("/"))), policy).run(reader)
        reader.drain()


def _serve(control: socket.socket, job: Job, descriptors: list[int]) -> None:
    writing = job.kind == jobs.PUT
    pipe = -1 if job.kind == jobs.STAT else descriptors.pop(0)
    user_ns = (descriptors.pop(0), job.mapped) if job.mapped is not None else None
    destinations = [destination for destination, _ in job.mounts]
    enter_view(
        descriptors[0],
        list(zip(destinations, descriptors[1:], strict=True)),
        _WRITERS if writing else _READERS,
        read_only=job.read_only or not writing,
        user_ns=user_ns,
    )
    path = absolute(job.path)
    if writing:
        base = extraction_point(job)
        control.sendall(jobs.encode_answer(Answer(stat=stat_path(base))))
        put(job, base, pipe)
        return
    control.sendall(jobs.encode_answer(Answer(stat=stat_path(path))))
    if job.kind == jobs.GET:
        get(path, pipe)


def _outcome(control: socket.socket, job: Job, descriptors: list[int]) -> Answer:
    try:
        _serve(control, job, descriptors)
    except Refused as error:
        return Answer(failed=(error.kind, error.message, 0))
    except (ArchiveError, NaruError) as error:
        return Answer(failed=("invalid", error.message, 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        return Answer(failed=("missing", str(error), error.errno or 0))
    except OSError as error:
        return Answer(failed=("system", str(error), error.errno or 0))
    except (MemoryError, RecursionError, ValueError, OverflowError) as error:
        return Answer(failed=("invalid", f"invalid archive: {error!r}", 0))
    return Answer(done=True)


def _receive(control: socket.socket) -> tuple[Job, list[int]] | None:
    data, descriptors, _, _ = socket.recv_fds(control, 1 << 20, jobs.MAX_DESCRIPTORS)
    while data and (
        len(data) < jobs.HEAD_BYTES
        or len(data) < jobs.HEAD_BYTES + jobs.frame_length(data[: jobs.HEAD_BYTES])
    ):
        more = control.recv(1 << 20)
        if not more:
            return None
        data += more
    return (jobs.decode_job(data[jobs.HEAD_BYTES :]), list(descriptors)) if data else None


def main() -> int:
    """Wait for a job, do it, answer. The engine's hanging up ends this at any time."""
    os.umask(0)
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_LIMIT_BYTES, _DATA_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=CONTROL_FD) as control:
        control.settimeout(IDLE_S)
        try:
            received = _receive(control)
        except TimeoutError:
            return 0
        if received is None:
            return 0
        control.settimeout(None)
        answer = jobs.encode_answer(_outcome(control, *received))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody waits for it
            control.sendall(answer)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
