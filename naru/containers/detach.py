"""The keys that leave a container without ending it: `ctrl-p,ctrl-q` unless configured. Pure."""

from naru.base.errors import InvalidParameter

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_SPECIAL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """The byte sequence of `ctrl-x,a,…`. Raises: InvalidParameter."""
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1 and ord(key) < 128:
            keys.append(ord(key))
        elif key.startswith("ctrl-") and len(key) == 6:
            letter = key[5]
            if "a" <= letter <= "z":
                keys.append(ord(letter) - ord("a") + 1)
            elif letter in _SPECIAL:
                keys.append(_SPECIAL[letter])
            else:
                raise InvalidParameter(f"Invalid escape keys ({text}) provided")
        else:
            raise InvalidParameter(f"Invalid escape keys ({text}) provided")
    return bytes(keys)


class DetachScanner:
    """Watches a client's input for the key sequence; holds back what may be its beginning."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what goes on to the workload, whether the sequence was completed)."""
        keys = self._keys
        if not keys:
            return data, False
        if not self._matched and keys[0] not in data:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == keys[self._matched]:
                self._matched += 1
                if self._matched == len(keys):
                    return bytes(passed), True
                continue
            passed += keys[: self._matched]
            self._matched = 0
            if byte == keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False
