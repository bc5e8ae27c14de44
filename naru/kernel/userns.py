"""User namespaces, and file systems seen with their ids.

A user namespace is made by a process that has one thread, so a short-lived one makes it: it enters,
says so, and stays until its maps are written and what it holds is pinned. The network namespace of
a mapped container is made by the same process: it belongs to the user namespace then, and the
container's root is root in it.

Files keep their own ids on disk. An id-mapped mount shows id 0 as the host's id of the container's
root, which the container sees as 0 again. Needs Linux 5.12, for overlays 5.19.
Spec: user_namespaces(7), mount_setattr(2) "ID-mapped mounts".
"""

import contextlib
import errno
import os
import select
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from naru.base.failpoints import declare
from naru.base.idmap import IdMap, is_whole, kernel_text, parse_kernel_text
from naru.kernel import mount, syscalls
from naru.kernel.spawn import Child, Spawner
from naru.kernel.threads import in_own_thread

T = TypeVar("T")

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C"}
_READY_MS = 10_000

USER_PINNED = declare("userns.user-pinned")
LAYERS_BOUND = declare("userns.layers-bound")


@dataclass(frozen=True, slots=True)
class Mapped:
    """An id map with a user namespace that has it, which holds no process; `fd` is the owner's."""

    id_map: IdMap
    fd: int


def open_userns(spawner: Spawner, id_map: IdMap) -> Mapped:
    """A namespace that only its descriptor keeps: for mounts, and for helpers. Raises: OSError."""
    with _held(spawner, ["unshare", "--user"]) as child:
        _write_maps(child.pid, id_map)
        fd = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    return Mapped(id_map, fd)


def create_sandbox(spawner: Spawner, id_map: IdMap, user_pin: str, net_pin: str) -> None:
    """Makes a user namespace and a network namespace that it owns, pinned on the two paths.

    Neither may exist; a failure leaves nothing behind. 4 ms. Raises: OSError.
    """
    with _held(spawner, ["unshare", "--user", "--net"]) as child:
        _write_maps(child.pid, id_map)
        with _pinned(child.pid, "user", user_pin):
            USER_PINNED()
            with _pinned(child.pid, "net", net_pin):
                return


def create_netns_in(spawner: Spawner, user_path: str, net_pin: str) -> None:
    """As `create_sandbox`, in a user namespace that is there already. Raises: OSError."""
    words = ["nsenter", f"--user={user_path}", "unshare", "--net"]
    with _held(spawner, words) as child, _pinned(child.pid, "net", net_pin):
        return


def remove_userns(pin_path: str) -> None:
    """Lets go of the namespace: it ends when nothing is left in it. Idempotent."""
    mount.unmount(pin_path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(pin_path)


@contextlib.contextmanager
def _held(spawner: Spawner, words: Sequence[str]) -> Iterator[Child]:
    """A process that has gone through `words` and waits; it ends with the block."""
    argv = [*words, "cat"]
    for index, word in enumerate(argv):
        if word in ("unshare", "nsenter", "cat"):
            found = shutil.which(word, path=_PATH)
            if found is None:
                raise OSError(errno.ENOENT, f"{word} was not found: install util-linux", word)
            argv[index] = found
    their_input, to_child = os.pipe2(os.O_CLOEXEC)
    from_child, their_output = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            child = spawner.spawn(argv, env=_ENVIRONMENT, fds={0: their_input, 1: their_output})
        finally:
            os.close(their_input)
            os.close(their_output)
        try:
            with contextlib.suppress(BrokenPipeError):
                os.write(to_child, b"\n")
            poller = select.poll()
            poller.register(from_child, select.POLLIN)
            if not poller.poll(_READY_MS) or not os.read(from_child, 1):
                raise OSError(
                    errno.EPERM, "this host makes no user namespaces (see user.max_user_namespaces)"
                )
            yield child
        finally:
            child.kill()
            child.wait_blocking()
    finally:
        os.close(to_child)
        os.close(from_child)


def _write_maps(pid: int, id_map: IdMap) -> None:
    for name, ranges in (("uid_map", id_map.uids), ("gid_map", id_map.gids)):
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, kernel_text(ranges).encode())
        finally:
            os.close(fd)


@contextlib.contextmanager
def _pinned(pid: int, kind: str, path: str) -> Iterator[None]:
    """The process's namespace, bound on `path`; unbound again when the block fails."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        syscalls.mount(f"/proc/{pid}/ns/{kind}", path, None, syscalls.MS_BIND)
        yield
    except BaseException:
        remove_userns(path)
        raise


def map_of_process(pid: int) -> IdMap | None:
    """The maps of a process's user namespace; None for the host's. Raises: OSError, ValueError."""
    texts = []
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", encoding="ascii") as source:
            texts.append(source.read())
    uids, gids = (parse_kernel_text(text) for text in texts)
    return None if not uids or is_whole(uids) else IdMap(uids, gids)


def enter(fd: int) -> None:
    """Makes the calling process the root of the user namespace, for good.

    It must have one thread; its capabilities count for that namespace only. Raises: OSError.
    """
    os.setgroups([])
    syscalls.setns(fd, syscalls.CLONE_NEWUSER)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def as_root_of(id_map: IdMap | None, fn: Callable[..., T], /, *args: object) -> T:
    """`fn(*args)` with files made as the mapped root makes them; with None just `fn(*args)`."""
    if id_map is None:
        return fn(*args)
    uid, gid = id_map.root

    def work() -> T:
        syscalls.set_file_ids(uid, gid)
        return fn(*args)

    return in_own_thread(work)


def map_tree(tree_fd: int, userns_fd: int, path: str, *, recursive: bool = True) -> None:
    """Shows a detached mount with the namespace's ids. Raises: OSError, saying what cannot."""
    try:
        syscalls.mount_setattr(
            tree_fd,
            set_attr=syscalls.MOUNT_ATTR_IDMAP,
            propagation=syscalls.MS_PRIVATE,
            recursive=recursive,
            userns_fd=userns_fd,
        )
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        raise OSError(
            error.errno,
            "its file system cannot be shown with the ids of a user namespace (id-mapped mounts)",
            path,
        ) from error


def bind_mapped(source: str, target: str, mapped: Mapped, *, recursive: bool = True) -> None:
    """Binds `source` on `target`, seen with the namespace's ids. Raises: OSError."""
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    tree = syscalls.open_tree(source, flags)
    try:
        map_tree(tree, mapped.fd, source, recursive=recursive)
        syscalls.move_mount(tree, target)
    finally:
        os.close(tree)


def mount_overlay_mapped(
    target: str,
    base: str,
    staging: str,
    lowers: Sequence[str],
    upper: str | None,
    work: str | None,
    mapped: Mapped,
    *,
    options: Sequence[str] = (),
) -> None:
    """`mount_overlay` of directories that all lie below `base`, seen with the namespace's ids;
    without `upper` read-only.

    `base` is bound on the directory `staging` meanwhile: the overlay keeps what it needs of it.
    Raises: OSError.
    """

    def moved(path: str) -> str:
        return os.path.normpath(os.path.join(staging, os.path.relpath(path, base)))

    def overlay() -> None:
        mount.mount_overlay(
            target,
            [moved(lower) for lower in lowers],
            None if upper is None else moved(upper),
            None if work is None else moved(work),
            options=options,
            read_only=upper is None,
        )

    bind_mapped(base, staging, mapped, recursive=False)
    try:
        LAYERS_BOUND()
        as_root_of(mapped.id_map, overlay)
    except OSError as error:
        if error.errno == errno.EINVAL:
            text = "this kernel has no overlays with the ids of a user namespace (Linux 5.19 has)"
            raise OSError(errno.EINVAL, text, target) from error
        raise
    finally:
        mount.unmount(staging)
