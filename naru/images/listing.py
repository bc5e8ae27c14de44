"""Which images a listing shows: the filters of `GET /images/json`. Pure.

Spec: Engine API 1.51, ImageList: before, dangling, label, reference, since, until, all.
"""

import re
from collections.abc import Callable, Collection, Sequence

from naru.base.clock import parse_timestamp
from naru.base.errors import InvalidParameter
from naru.base.filters import Filters, matches_labels, parse_bool
from naru.images.model import Image
from naru.spec.oci.reference import Reference

LIST_FILTERS = frozenset({"before", "dangling", "label", "reference", "since", "until"})
PRUNE_FILTERS = frozenset({"dangling", "label", "label!", "until"})

Resolve = Callable[[str], Image]


def select(
    images: Sequence[Image],
    filters: Filters,
    *,
    everything: bool,
    parents: Collection[str],
    resolve: Resolve,
    now_ns: int,
) -> list[Image]:
    """The images to show, the newest first; their references cut to those that match.

    `parents`: ids of the images that are another's parent, hidden unless tagged or `everything`.
    """
    dangling = parse_bool(filters, "dangling")
    before = [resolve(text).created_ns for text in filters.get("before", ())]
    before += [parse_timestamp(text, now_ns) for text in filters.get("until", ())]
    since = [resolve(text).created_ns for text in filters.get("since", ())]
    patterns = [glob(pattern) for pattern in filters.get("reference", ())]
    chosen: list[Image] = []
    for image in images:
        if any(image.created_ns >= limit for limit in before):
            continue
        if any(image.created_ns <= limit for limit in since):
            continue
        if not labels_wanted(filters, image):
            continue
        refs = [ref for ref in image.references if not patterns or _matches(patterns, ref)]
        if refs:
            if dangling and any(ref.digest is None for ref in refs):
                continue
        elif dangling is False or patterns or not (everything or image.id not in parents):
            continue
        chosen.append(Image(image.record, refs, image.size_bytes))
    chosen.sort(key=lambda image: (-image.created_ns, image.id))
    return chosen


def labels_wanted(filters: Filters, image: Image) -> bool:
    """Whether the `label` and `label!` filters let the image through."""
    if not matches_labels(filters.get("label", ()), image.labels):
        return False
    unwanted = filters.get("label!", ())
    return not unwanted or not matches_labels(unwanted, image.labels)


def _matches(patterns: Sequence[re.Pattern[str]], ref: Reference) -> bool:
    return any(p.match(ref.familiar) or p.match(ref.name) for p in patterns)


def glob(pattern: str) -> re.Pattern[str]:
    """A Go `path.Match` pattern: `*` and `?` stop at a slash. Raises: InvalidParameter."""
    out, rest = "", pattern
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[":
            body, bracket, rest = rest.partition("]")
            if not bracket or not body.strip("^"):
                raise InvalidParameter("syntax error in pattern")
            mark = "^" if body[0] == "^" else ""
            out += "[" + mark + body.lstrip("^").replace("\\", "\\\\").replace("[", "\\[") + "]"
        elif char == "\\":
            if not rest:
                raise InvalidParameter("syntax error in pattern")
            out, rest = out + re.escape(rest[0]), rest[1:]
        else:
            out += re.escape(char)
    try:
        return re.compile(out + r"\Z", re.DOTALL)
    except re.error as error:
        raise InvalidParameter("syntax error in pattern") from error
