"""The options of the driver `local`: `type`, `device`, `o` as mount(8) has them, `size`. Pure.

type=none o=bind device=/srv/data        a directory of the host
type=tmpfs device=tmpfs o=size=64m       memory
type=nfs o=addr=server,rw device=:/path  any file system that the kernel mounts
size=10g                                 a directory that holds no more than that
"""

from collections.abc import Mapping

from naru.base.errors import InvalidParameter
from naru.base.units import parse_size

_NEEDED = {"type": ("device",), "device": ("type",), "o": ("device", "type")}
_NO_MOUNT = ("remount", "move", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable")
_SECRETS = ("password", "password2", "pass")
NETWORKED = ("nfs", "nfs4", "cifs", "smb3")


def mounts(options: Mapping[str, str] | None) -> bool:
    """Whether a volume with these options is a mount, and not a directory of ours."""
    return bool(options and (options.get("type") or options.get("device")))


def words(options: Mapping[str, str]) -> list[str]:
    """The single options of `o`."""
    return [word for word in options.get("o", "").split(",") if word]


def size_bytes(options: Mapping[str, str] | None) -> int:
    """The limit that `size` sets; 0: none. The options are checked."""
    text = (options or {}).get("size", "")
    return parse_size(text) if text else 0


def check(name: str, options: Mapping[str, str]) -> None:
    """Raises: InvalidParameter naming the option."""
    for option in options:
        if option not in _NEEDED and option != "size":
            raise InvalidParameter(f'create {name}: invalid option: "{option}"')
    if "size" in options:
        _check_size(name, options)
    if not any(options.get(option) for option in _NEEDED):
        return
    for option in options:
        for needed in _NEEDED.get(option, ()):
            if not options.get(needed):
                raise InvalidParameter(f'create {name}: missing required option: "{needed}"')
    if any("\0" in value for value in options.values()):
        raise InvalidParameter(f"create {name}: a NUL character in an option")
    for word in words(options):
        if word in _NO_MOUNT:
            raise InvalidParameter(f'create {name}: invalid option: "o": {word} makes no mount')


def _check_size(name: str, options: Mapping[str, str]) -> None:
    text = options["size"]
    try:
        parse_size(text)
    except InvalidParameter as error:
        raise InvalidParameter(f"create {name}: invalid size: '{text}'") from error
    if mounts(options):
        raise InvalidParameter(
            f'create {name}: invalid option: "size" is for volumes without a device; a tmpfs takes '
            "it as o=size=…"
        )


def shown_data(options: Mapping[str, str]) -> str:
    """`o` for an error's text, without the passwords."""
    shown = []
    for word in words(options):
        key, equals, _ = word.partition("=")
        shown.append(f"{key}=********" if equals and key in _SECRETS else word)
    return ",".join(shown)
