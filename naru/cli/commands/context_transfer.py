"""`naru context export` and `import`: a context as an archive, in docker's form."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

from naru.cli.command import Command, CommandError
from naru.cli.streams import write_all
from naru.client.contexts import TLS_NAMES, Context, ContextEndpoint, ContextStore, check_name
from naru.client.wire import decode

if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

LIMIT_BYTES = 10 << 20


def export(session: Session, values: Values, arguments: list[str]) -> None:
    name = arguments[0]
    store = ContextStore(session.config_dir)
    if name == "default":
        raise CommandError("the context default cannot be exported: it is not stored")
    store.load(name)
    target = arguments[1] if len(arguments) > 1 else f"{name}.dockercontext"
    data = _archive(store, name)
    if target == "-":
        if os.isatty(1):
            raise CommandError("cowardly refusing to export to a terminal, specify a file path")
        sys.stdout.flush()
        write_all(1, data)
        return
    try:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"open {target}: {(error.strerror or '').lower()}") from error
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    sys.stderr.write(f'Written file "{target}"\n')


def _archive(store: ContextStore, name: str) -> bytes:
    buffer = io.BytesIO()
    with open(os.path.join(store.metadata_folder(name), "meta.json"), "rb") as file:
        entries = {"meta.json": file.read()}
    for tls_name, data in store.tls_data(name).items():
        entries[f"tls/docker/{tls_name}"] = data
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in entries.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o600
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _read(path: str) -> bytes:
    try:
        with open(0 if path == "-" else path, "rb") as source:
            data = source.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from error
    if len(data) > LIMIT_BYTES:
        raise CommandError("the archive is larger than a context can be")
    return data


def _entries(data: bytes) -> dict[str, bytes]:
    """The files that a context may have; anything else is an error."""
    found: dict[str, bytes] = {}
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            for entry in zipped.infolist():
                if not entry.is_dir() and entry.file_size <= LIMIT_BYTES:
                    found[entry.filename] = zipped.read(entry)
    else:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    found[member.name] = content.read()
    allowed = {"meta.json", *(f"tls/docker/{name}" for name in TLS_NAMES)}
    for path in found:
        if path not in allowed:
            raise CommandError(f"unexpected context file: {path}")
    return found


def import_one(session: Session, values: Values, arguments: list[str]) -> None:
    name, store = arguments[0], ContextStore(session.config_dir)
    check_name(name)
    if name in store.names():
        raise CommandError(f'context "{name}" already exists')
    try:
        entries = _entries(_read(arguments[1]))
        document = decode(entries["meta.json"])
        endpoint = document["Endpoints"]["docker"]
        metadata = dict(document.get("Metadata") or {})
    except KeyError as error:
        raise CommandError("invalid context: no metadata found") from error
    except (tarfile.TarError, zipfile.BadZipFile, ValueError) as error:
        raise CommandError(f"invalid context: {error}") from error
    context = Context(
        name,
        ContextEndpoint(endpoint.get("Host") or "", bool(endpoint.get("SkipTLSVerify"))),
        str(metadata.get("Description") or ""),
        metadata,
    )
    tls = {
        path.rpartition("/")[2]: data for path, data in entries.items() if path.startswith("tls/")
    }
    store.save(context, tls)
    sys.stdout.write(f"{name}\n")
    sys.stdout.flush()
    sys.stderr.write(f'Successfully imported context "{name}"\n')


EXPORT = Command(
    export,
    "CONTEXT [FILE|-]",
    "Export a context to a tar archive FILE or a tar stream on STDOUT.",
    None,
    1,
    2,
)
IMPORT = Command(
    import_one, "CONTEXT FILE|-", "Import a context from a tar or zip file", None, 2, 2
)
