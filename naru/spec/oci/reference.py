"""Image references: `busybox`, `registry:5000/team/app:1.2@sha256:…`. Pure.

Spec: distribution reference grammar; Docker's normalisation (`docker.io/library/` is not shown).
"""

import re
from dataclasses import dataclass

from naru.base.errors import InvalidParameter
from naru.spec.oci.digest import parse_digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z")
_TAG = re.compile(r"[\w][\w.-]{0,127}\Z", re.ASCII)

DEFAULT_DOMAIN = "docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """`domain` and `path` are always whole (`docker.io`, `library/busybox`)."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The repository as people write it: without Docker's default domain and `library/`."""
        if self.domain != DEFAULT_DOMAIN:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix("library/")

    @property
    def familiar(self) -> str:
        """`name:tag` or `name@digest`; with neither, the name."""
        text = self.name
        if self.tag is not None:
            text += f":{self.tag}"
        if self.digest is not None:
            text += f"@{self.digest}"
        return text

    def with_default_tag(self) -> "Reference":
        if self.tag is not None or self.digest is not None:
            return self
        return Reference(self.domain, self.path, "latest", None)


def is_tag(text: str) -> bool:
    return _TAG.match(text) is not None


def check_name(reference: Reference) -> None:
    """Whether an image may be called so. Raises: InvalidParameter for what reads as a digest."""
    if reference.name == "sha256":
        raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")


def parse_reference(text: str) -> Reference:
    """Raises: InvalidParameter (`invalid reference format`), in Docker's words."""
    rest, at, digest_text = text.partition("@")
    digest = parse_digest(digest_text) if at else None
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag_or_none = rest, None
    else:
        tag_or_none = tag
    first, slash, remainder = head.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = first, remainder
    else:
        domain, path = DEFAULT_DOMAIN, head
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if path.lower() != path:
        whole = path if "/" in path or domain != DEFAULT_DOMAIN else f"library/{path}"
        raise InvalidParameter(
            f"invalid reference format: repository name ({whole}) must be lowercase"
        )
    well_formed = _DOMAIN.match(domain) and _PATH.match(path) and len(path) <= 255
    if not well_formed or (tag_or_none is not None and not _TAG.match(tag_or_none)):
        raise InvalidParameter("invalid reference format")
    if re.fullmatch(r"[0-9a-f]{64}", text):
        raise InvalidParameter(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = "library/" + path
    return Reference(domain, path, tag_or_none, digest)
