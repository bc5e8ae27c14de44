"""`naru volume export` and `import`: Naru's own words."""

from __future__ import annotations

import os
import sys
import time

from naru.cli.command import Command, CommandError
from naru.cli.flags import BOOL, STRING, Flag, Flags
from naru.cli.transfer import file_chunks, save_stream
from naru.client import volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

_ENDS = ((".zst", "zstd"), (".zstd", "zstd"), (".gz", "gzip"), (".tgz", "gzip"))
_LONGEST = 4096
_PASSPHRASE = Flag(
    "passphrase-file", "", STRING, "Read the passphrase from this file, or from fd:N"
)


def _read_passphrase(path: str) -> bytes:
    """The first line of a file, of a descriptor (`fd:3`), or what is typed."""
    if not path:
        return _typed()
    try:
        number = path[3:] if path.startswith("fd:") else ""
        fd = int(number) if number.isdigit() else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(fd, "rb") as source:
            line = source.readline(_LONGEST + 2).rstrip(b"\r\n")
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from error
    if not line:
        raise CommandError(f"{path}: the passphrase is empty")
    return line


def _typed() -> bytes:
    import getpass  # slow, and rarely wanted

    try:
        return getpass.getpass("Passphrase: ").encode()
    except (EOFError, OSError) as error:
        raise CommandError(
            "no terminal to ask for the passphrase: use --passphrase-file"
        ) from error


def _form(values: Values) -> str:
    """What the flags say, or the file's name."""
    if values["zstd"] and values["gzip"]:
        raise CommandError("--zstd and --gzip exclude each other")
    if values["zstd"] or values["gzip"]:
        return "zstd" if values["zstd"] else "gzip"
    path = values["output"].removesuffix(".enc").lower()
    return next((form for end, form in _ENDS if path.endswith(end)), "plain")


def export(session: Session, values: Values, arguments: list[str]) -> None:
    name, form = arguments[0], _form(values)
    passphrase = None
    if values["encrypt"] or values["passphrase-file"]:
        passphrase = _read_passphrase(values["passphrase-file"])
    since = time.time()
    save_stream(
        values["output"],
        lambda: volumes.export(session.engine, name, form, values["pause"], passphrase),
        "failed to export volume",
    )
    sockets = volumes.left_out(session.engine, name, f"{since:.9f}", f"{time.time():.9f}")
    if sockets:
        sys.stderr.write(f"WARNING: {sockets} sockets were left out\n")


def import_(session: Session, values: Values, arguments: list[str]) -> None:
    fd, path = 0, values["input"]
    if path:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from error
    elif os.isatty(0):
        raise CommandError("requested import from stdin, but stdin is a terminal")
    passphrase = None
    if values["decrypt"] or values["passphrase-file"]:
        passphrase = _read_passphrase(values["passphrase-file"])
    name = arguments[0]
    volumes.import_archive(session.engine, name, file_chunks(fd), values["replace"], passphrase)
    sys.stdout.write(f"{name}\n")


EXPORT = Command(
    export,
    "[OPTIONS] VOLUME",
    "Write a volume as a tar archive (to STDOUT by default)",
    Flags(
        Flag("encrypt", "", BOOL, "Encrypt with a passphrase"),
        Flag("gzip", "", BOOL, "Compress with gzip"),
        Flag("output", "o", STRING, "Write to a file; .zst and .gz compress"),
        _PASSPHRASE,
        Flag("pause", "", BOOL, "Freeze the volume's containers meanwhile"),
        Flag("zstd", "", BOOL, "Compress with zstd"),
    ),
    1,
    1,
)
IMPORT = Command(
    import_,
    "[OPTIONS] VOLUME",
    "Make a volume of an archive (from STDIN by default)",
    Flags(
        Flag("decrypt", "", BOOL, "The archive is encrypted: ask for the passphrase"),
        Flag("input", "i", STRING, "Read from a file"),
        _PASSPHRASE,
        Flag("replace", "", BOOL, "Replace what the volume holds"),
    ),
    1,
    1,
)
