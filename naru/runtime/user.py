"""Who a process inside a container is: `--user`, `--group-add`, and the image's own files.

/etc/passwd and /etc/group belong to the image: they are opened inside its root without ever
following a link out of it, must be regular files of a bounded size, and no number is cut to fit.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from naru.base.errors import InvalidParameter
from naru.kernel.files import open_in_root, read_file_limited

MAX_ID = (1 << 31) - 1
_FILE_LIMIT_BYTES = 16 << 20
_RANGE_TEXT = f"uids and gids must be in range 0-{MAX_ID}"


@dataclass(frozen=True, slots=True)
class ResolvedUser:
    """`groups`: supplementary group ids, the primary one first, as Docker passes them."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)
    home: str = "/"
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: str
    gid: str
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: str
    members: tuple[str, ...]


def resolve_user(root_fd: int, spec: str, group_add: Sequence[str] = ()) -> ResolvedUser:
    """The ids that `spec` (`name|uid[:group|gid]`, "" is root) means in the root file system.

    Raises: InvalidParameter with Docker's text for an unknown name or a number out of range, or
    when a name is asked for and the file is no regular file or too large.
    """
    user_text, _, group_text = spec.partition(":")
    names_needed = not _is_plain(user_text) or not _is_plain(group_text)
    passwd = _read(root_fd, "/etc/passwd", required=names_needed)
    needs_groups = not _is_plain(group_text) or any(not _is_plain(g) for g in group_add)
    group = _read(root_fd, "/etc/group", required=needs_groups)
    return resolve(passwd, group, spec, group_add)


def resolve(passwd: str, group: str, spec: str, group_add: Sequence[str] = ()) -> ResolvedUser:
    """`resolve_user` on the text of the two files. Pure."""
    user_text, _, group_text = spec.partition(":")
    account = _find_account(passwd, user_text)
    if account is not None:
        uid, gid = _file_id(account.uid, account.name), _file_id(account.gid, account.name)
        home, name = account.home or "/", account.name
    elif user_text and not _is_number(user_text):
        raise InvalidParameter(
            f"unable to find user {user_text}: no matching entries in passwd file"
        )
    else:
        uid, gid, home, name = _number(user_text or "0"), 0, "/", ""
    groups = list(_groups(group))
    supplementary: list[int] = []
    if group_text:
        gid = _find_group(groups, group_text)
    elif name:
        supplementary = [_file_id(g.gid, g.name) for g in groups if name in g.members]
    added = [_find_group(groups, text) for text in group_add]
    everything = dict.fromkeys((gid, *supplementary, *added))
    return ResolvedUser(uid, gid, tuple(everything), home, name)


def _is_plain(text: str) -> bool:
    return not text or _is_number(text)


def _is_number(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isascii() and digits.isdigit()


def _number(text: str) -> int:
    value = int(text) if len(text) <= 20 else -1
    if not 0 <= value <= MAX_ID:
        raise InvalidParameter(_RANGE_TEXT)
    return value


def _file_id(text: str, name: str) -> int:
    """An id out of the image's file; a broken one is refused, never read as 0."""
    if not _is_number(text):
        raise InvalidParameter(f"the entry of {name!r} has no valid id: {text[:32]!r}")
    return _number(text)


def _find_account(passwd: str, wanted: str) -> _Account | None:
    """First line whose name is `wanted`, or whose uid is that number; "" is uid 0."""
    number = _number(wanted or "0") if _is_plain(wanted) else None
    for account in _accounts(passwd):
        if wanted and account.name == wanted:
            return account
        if number is not None and account.uid.isdigit() and _same(account.uid, number):
            return account
    return None


def _same(text: str, number: int) -> bool:
    return text.isascii() and len(text) <= 20 and int(text) == number


def _find_group(groups: Sequence[_Group], wanted: str) -> int:
    number = _number(wanted) if _is_number(wanted) else None
    for group in groups:
        if group.name == wanted:
            return _file_id(group.gid, group.name)
        if number is not None and group.gid.isdigit() and _same(group.gid, number):
            return number
    if number is None:
        raise InvalidParameter(f"unable to find group {wanted}: no matching entries in group file")
    return number


def _accounts(text: str) -> Iterator[_Account]:
    for fields in _records(text):
        if len(fields) >= 4:
            yield _Account(fields[0], fields[2], fields[3], fields[5] if len(fields) > 5 else "")


def _groups(text: str) -> Iterator[_Group]:
    for fields in _records(text):
        if len(fields) >= 3:
            members = tuple(fields[3].split(",")) if len(fields) > 3 and fields[3] else ()
            yield _Group(fields[0], fields[2], members)


def _records(text: str) -> Iterator[list[str]]:
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield stripped.split(":")


def _read(root_fd: int, path: str, *, required: bool) -> str:
    """The file's text; "" when it is missing, or when it is no use and only numbers are asked."""
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if not required:
            return ""
        raise InvalidParameter(f"cannot read {path} of the container: {error.strerror}") from error
    try:
        return read_file_limited(fd, _FILE_LIMIT_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        if not required:
            return ""
        reason = "it is too large" if error.errno == errno.EFBIG else "it is no regular file"
        raise InvalidParameter(f"cannot read {path} of the container: {reason}") from error
    finally:
        os.close(fd)
