"""Content digests: `sha256:` and 64 hexadecimal digits. Pure.

Spec: OCI image specification, descriptor.md, "Digests".
"""

import hashlib
import re

from naru.base.errors import InvalidParameter

_FORM = re.compile(r"sha256:[0-9a-f]{64}\Z")


def parse_digest(text: str) -> str:
    """`text` itself when it is a well-formed sha256 digest. Raises: InvalidParameter.

    The only door through which a digest from outside may become part of a path.
    """
    if _FORM.match(text) is None:
        raise InvalidParameter(f"invalid digest {text!r}: wanted sha256: and 64 hexadecimal digits")
    return text


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def chain_ids(diff_ids: list[str]) -> list[str]:
    """The ChainID of every layer prefix. Spec: OCI image config.md, "Layer ChainID"."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
