"""`userns-remap`: whose subordinate ids the containers of an engine get.

    default            dockremap
    USER, USER:GROUP   names or numbers; without a group /etc/subgid is asked for the user

What is set aside must be there: narud gives nobody ids. Unlike Docker's, the account need not be.
Spec: dockerd(8), "Daemon user namespace options".
"""

import grp
import pwd
from collections.abc import Callable

from naru.base.idmap import IdMap, Ranges, free_line, ranges_of
from naru.containers.userns import SUBGID, SUBUID, read_ids
from naru.engine.config import ConfigError

DEFAULT_NAME = "dockremap"

Names = Callable[[str], set[str]]


def user_names(word: str) -> set[str]:
    """The word itself, and the account's name and number when there is one."""
    try:
        found = pwd.getpwuid(int(word)) if word.isdecimal() else pwd.getpwnam(word)
    except (KeyError, OverflowError):
        return {word}
    return {word, found.pw_name, str(found.pw_uid)}


def group_names(word: str) -> set[str]:
    try:
        found = grp.getgrgid(int(word)) if word.isdecimal() else grp.getgrnam(word)
    except (KeyError, OverflowError):
        return {word}
    return {word, found.gr_name, str(found.gr_gid)}


def remap_of(option: str) -> IdMap | None:
    """The map of an engine; None when it has none. Raises: ConfigError, saying what to write."""
    if not option:
        return None
    return choose(option, read_ids(SUBUID), read_ids(SUBGID), user_names, group_names)


def choose(option: str, subuid: str, subgid: str, users: Names, groups: Names) -> IdMap:
    """As `remap_of`, from the texts of the two files. Raises: ConfigError."""
    user, colon, group = option.partition(":")
    if not user or ":" in group or (colon and not group):
        raise ConfigError(f"invalid userns-remap {option!r}: wanted default, USER or USER:GROUP")
    if user == "default":
        user = DEFAULT_NAME
    owners = groups(group) if group else users(user)
    wanted = [(SUBUID, subuid, user, users(user)), (SUBGID, subgid, group or user, owners)]
    uids, gids = (_ranges(option, *item, free_line(item[2], (subuid, subgid))) for item in wanted)
    return IdMap(uids, gids)


def _ranges(option: str, path: str, text: str, name: str, names: set[str], line: str) -> Ranges:
    try:
        ranges = ranges_of(text, names)
    except ValueError as error:
        raise ConfigError(f"userns-remap {option}: {path}: {error}") from error
    if not ranges:
        raise ConfigError(
            f"userns-remap {option}: {path} sets no ids aside for {name}: add the line {line} to it"
        )
    return ranges
