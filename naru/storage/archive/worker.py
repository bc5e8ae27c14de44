"""The process that reads hostile archives: started by `workers`, does one job, ends.

Every module and codec is imported before the job comes, because afterwards there is no file system
to import from except the one that the archive's maker controls. It is told its job and handed the
descriptors over descriptor 3, shuts itself into the job's directory, and answers on the same
socket. It is not a command for people.
"""

import contextlib
import encodings.idna
import encodings.latin_1
import encodings.utf_8
import os
import resource
import socket
import sys
import threading

from naru.base.errors import NaruError
from naru.base.failpoints import declare
from naru.kernel.confine import confine
from naru.kernel.files import read_file_limited, write_all
from naru.storage.archive import jobs
from naru.storage.archive.compression import Limits
from naru.storage.archive.headers import ArchiveError
from naru.storage.archive.jobs import Done, Failed, Job
from naru.storage.archive.output import Output
from naru.storage.archive.pack import MAX_DEPTH, Packer, PackPolicy
from naru.storage.archive.packed_output import PackedOutput
from naru.storage.archive.reading import Feed, Reader
from naru.storage.archive.recipe import RecipeWriter, rebuild
from naru.storage.archive.source import Source
from naru.storage.archive.tree import Tree
from naru.storage.archive.unpack import Policy, Unpacker, has_layer_payload

CONTROL_FD = 3
_DATA_LIMIT_BYTES = 2 << 30
_NOTES_LIMIT_BYTES = 64 << 20
_NO_LIMIT = 1 << 62
_FRAMES_PER_FOLDER = 5
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CAPABILITIES = {
    jobs.UNPACK: ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"),
    # the attribute that makes a directory opaque can be read only with SYS_ADMIN
    jobs.PACK: ("DAC_READ_SEARCH", "SYS_ADMIN"),
    jobs.EXPORT: ("DAC_READ_SEARCH",),
    jobs.REBUILD: ("DAC_READ_SEARCH",),
    # attributes of the class trusted can be read only with SYS_ADMIN
    jobs.BACKUP: ("DAC_READ_SEARCH", "SYS_ADMIN"),
    jobs.RESTORE: ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"),
}
_PRELOADED = (encodings.idna, encodings.latin_1, encodings.utf_8)

_UNPACKED = declare("archive.unpacked")


def work(job: Job, descriptors: list[int]) -> Done:
    """Do `job` in this process, whose `/` is the job's root. Raises: ArchiveError, OSError."""
    root = os.open("/", _FOLDER)
    if job.kind == jobs.UNPACK:
        return _unpack(root, descriptors[1], job)
    if job.kind == jobs.REBUILD:
        return _rebuild(root, descriptors[1])
    if job.kind == jobs.RESTORE:
        return _restore(root, descriptors[1])
    if job.kind == jobs.BACKUP:
        packed = PackedOutput(descriptors[1], job.form)
        packer = Packer(packed, PackPolicy(whole=True, prefix=b"."))
        packer.run(root)
        packed.finish()
        return Done(archive_bytes=packed.total, entries=packer.entries, sockets=packer.sockets)
    output = Output(descriptors[1], digest=False)
    packer = Packer(output, PackPolicy(layer=job.kind == jobs.PACK))
    packer.run(root)
    output.finish()
    return Done(archive_bytes=output.total, entries=packer.entries)


def _unpack(root: int, source_fd: int, job: Job) -> Done:
    os.mkdir("diff", 0o755, dir_fd=root)
    os.chmod("diff", 0o755, dir_fd=root)
    os.mkdir("spill", 0o700, dir_fd=root)
    spill = os.open("spill", _FOLDER, dir_fd=root)
    recipe = os.open("recipe", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=root)
    writer = RecipeWriter(recipe)
    with Source(source_fd, job.size) as source:
        reader = Reader(Feed(source.chunks()), keep=writer.keep, has_payload=has_layer_payload)
        tree = Tree(os.open("diff", _FOLDER, dir_fd=root))
        unpacked = Unpacker(tree, Policy(layer=True), spill).run(reader)
        reader.drain()
        _UNPACKED()
        writer.finish()
        notes = os.open("notes", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=root)
        write_all(notes, jobs.encode_notes(unpacked))
        return Done(
            digest=source.digest(),
            archive_bytes=source.plain_bytes,
            entries=unpacked.entries,
            size_bytes=unpacked.size_bytes,
            deferred=tuple(unpacked.deferred),
        )


def _restore(root: int, source_fd: int) -> Done:
    # what a volume may hold is bounded by the disk, not by how well it compresses
    limits = Limits(free_bytes=_NO_LIMIT, steep_free_bytes=_NO_LIMIT)
    with Source(source_fd, limits=limits, digest=False) as source:
        reader = Reader(Feed(source.chunks()))
        unpacked = Unpacker(Tree(root), Policy(whole=True)).run(reader)
        reader.drain()
        if not reader.ended:
            raise ArchiveError("invalid archive: it is cut off: its end mark is missing")
        return Done(
            archive_bytes=source.plain_bytes,
            entries=unpacked.entries,
            size_bytes=unpacked.size_bytes,
            deferred=tuple(unpacked.deferred),
        )


def _rebuild(root: int, out_fd: int) -> Done:
    notes = jobs.decode_notes(
        read_file_limited(os.open("notes", os.O_RDONLY, dir_fd=root), _NOTES_LIMIT_BYTES)
    )
    output = Output(out_fd, digest=True)
    diff, spill = os.open("diff", _FOLDER, dir_fd=root), os.open("spill", _FOLDER, dir_fd=root)
    rebuild(os.open("recipe", os.O_RDONLY, dir_fd=root), diff, spill, notes, output)
    return Done(digest=output.finish(), archive_bytes=output.total)


def _end_with(control: socket.socket) -> None:
    """End this process as soon as the engine hangs up or dies, whatever it is doing."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            control.recv(1)
        os._exit(1)

    threading.Thread(target=watch, name="watch", daemon=True).start()


def _answer(control: socket.socket, job: Job, descriptors: list[int]) -> bytes:
    try:
        user_ns = descriptors[2] if job.mapped else None
        confine(descriptors[0], _CAPABILITIES[job.kind], user_ns=user_ns)
        _end_with(control)
        return jobs.encode_done(work(job, descriptors))
    except (ArchiveError, NaruError) as error:
        return jobs.encode_failed(Failed("archive", error.message))
    except OSError as error:
        return jobs.encode_failed(Failed("system", str(error), error.errno or 0))
    except (MemoryError, RecursionError, ValueError, OverflowError) as error:
        return jobs.encode_failed(Failed("archive", f"invalid archive: {error!r}"))


def main() -> int:
    """Wait for a job, do it, answer. The engine's hanging up ends this at any time."""
    os.umask(0)
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_LIMIT_BYTES, _DATA_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.setrecursionlimit(_FRAMES_PER_FOLDER * MAX_DEPTH)
    with socket.socket(fileno=CONTROL_FD) as control:
        received = jobs.receive_job(control)
        if received is None:
            return 0
        answer = _answer(control, *received)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody waits for it
            control.sendall(answer)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
